"""Measure what int8 activations cost a model, and what smoothing gives back."""
