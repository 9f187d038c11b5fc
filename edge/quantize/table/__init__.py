"""Compare methods, widths and group sizes on one model."""
