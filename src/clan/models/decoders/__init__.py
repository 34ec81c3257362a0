"""Decoders, one file each: they map an encoder's features to logits."""
