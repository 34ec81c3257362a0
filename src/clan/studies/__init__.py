"""Many trainings: jobs in parallel, sweeps of settings, benchmarks of systems over seeds.

Imports everything below; only cli and demo import it.
"""
