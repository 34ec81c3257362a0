"""The folder of a run: configuration, checkpoints, metrics, environment, and verdicts on them.

Imports config, weights and below.
"""
