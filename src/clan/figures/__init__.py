"""Figures at paper quality: one module per kind, one common style, without pyplot."""
