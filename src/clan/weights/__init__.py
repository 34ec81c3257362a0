"""Initial weights, model files, and conversion of published checkpoints.

Imports models and below.
"""
