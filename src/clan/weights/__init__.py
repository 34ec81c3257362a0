"""What a training starts from, model files, and published checkpoints' layouts in and out.

Imports models and below.
"""
