"""Pure functions of tensors, and arrays; each cites its equation.

Imports core and data's class sets; it knows no network.
"""
