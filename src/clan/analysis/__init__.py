"""A closer look at runs: feature distances, embeddings, alignment maps, label-free scores.

Each analysis writes what it computed, and with what, into the run's folder ``analysis/``, so that
figures and reports are drawn without computing it again.
"""
