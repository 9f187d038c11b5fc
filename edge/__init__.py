"""Low-bit language models on the device: formats, model, training, native ops."""
