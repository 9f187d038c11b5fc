"""Give each layer of a nested model its own width: Mix'n'Match (arXiv 2502.06786, section 4.3)."""
