"""Export of a checkpoint to an ExecuTorch program that calls the native low-bit ops."""
