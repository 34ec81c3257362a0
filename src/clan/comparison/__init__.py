"""Runs side by side: the table, its gains and ranks, the paper's published tables.

Imports scoring and below; it needs no torch.
"""
