"""Decoders: what makes logits of an encoder's features, one file each."""
