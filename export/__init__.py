"""Export a checkpoint to a verified ExecuTorch program."""

from edge.quiet import quiet_libraries

quiet_libraries()  # before a submodule imports a library that prints
