"""Quantise a trained model, one layer in memory at a time."""
