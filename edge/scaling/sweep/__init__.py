"""Train and quantise a grid of small models, and record their losses."""
