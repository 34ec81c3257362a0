"""How fast the package is, each row beside what bounds it: `python -m benchmarks.speed`."""
