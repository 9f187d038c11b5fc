"""Mix'n'Match (arXiv 2502.06786, section 4.3): a width for each layer of a nested model."""
