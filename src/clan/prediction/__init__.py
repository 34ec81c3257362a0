"""A trained network at work: labels and overlays of images, scores of a labelled split.

Imports training's domains, scoring and below.
"""
