"""Export of a checkpoint to an ExecuTorch program that calls the native low-bit ops."""

from edge.quiet import quiet_libraries

quiet_libraries()  # before any submodule imports what chatters
