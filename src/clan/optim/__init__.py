"""Optimizers: parameter groups, schedules, the published codes' repeated groups.

Imports models and below.
"""
