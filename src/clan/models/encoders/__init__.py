"""Encoders E, one file each."""
