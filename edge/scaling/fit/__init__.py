"""Fit laws to records, and say how far they can be trusted."""
