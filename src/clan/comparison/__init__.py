"""Runs side by side: the table, its forms, gains and ranks, the paper's published tables.

Imports scoring and below; it needs no torch.
"""
