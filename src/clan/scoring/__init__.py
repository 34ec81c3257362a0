"""Predictions and their scores: protocol, inference, confusion matrix, evaluation file.

Imports models, data and core; opens no data sets and draws no pictures.
"""
