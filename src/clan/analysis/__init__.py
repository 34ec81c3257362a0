"""Analyses of runs: feature distances, embeddings, alignment maps, label-free scores.

Each analysis writes its results and settings into the run's folder ``analysis/``, so that figures
and reports need not compute them again.
"""
