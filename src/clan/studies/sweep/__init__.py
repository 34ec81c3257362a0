"""The parameter study: a grid of trainings, its table and its figure (section 4.5)."""
