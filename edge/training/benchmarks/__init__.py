"""Benchmarks of the data loader and of training steps."""
