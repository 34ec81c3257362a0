"""Figures at paper quality: one module per kind, one style, no state of pyplot."""
