"""The training loop, its data and processes; what resuming may change; dry runs.

Imports runs, scoring, methods and below; it knows no method by name.
"""
