"""Programs to compare ours with: one file each, and one row each in ``recipes.py`` or ``table.py``."""
