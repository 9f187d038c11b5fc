"""Plan a model for a device: which shape, width and training have the least loss within its limits."""
