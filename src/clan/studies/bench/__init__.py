"""`clan bench`: trains all systems of a task over seeds, compares and tests them, writes tables."""
