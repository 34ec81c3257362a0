"""A run's whole configuration: one checked tree, its files and presets, its errors in sentences.

Imports methods and below, whose options it joins.
"""
