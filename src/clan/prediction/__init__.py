"""Uses trained networks: predictions and overlays of images, scores of a labelled split.

Imports training's domains, scoring and below.
"""
