"""Quality of checkpoints and exported programs: ``python -m edge.evaluation``."""
