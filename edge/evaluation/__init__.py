"""Evaluation of checkpoints and exported programs: perplexity and accuracy."""
