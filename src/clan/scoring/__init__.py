"""From images to labels and from labels to scores: protocol, inference, matrix, evaluation file.

Imports models, data and core; it opens no domains and draws no pictures.
"""
