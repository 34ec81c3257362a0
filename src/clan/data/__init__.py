"""Data sets on disk: class sets, label maps, reading, views, sampling and batches.

Imports core alone; it knows no network and no configuration.
"""
