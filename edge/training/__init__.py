"""Training, evaluation, and text from exported programs."""

from edge.quiet import quiet_libraries

quiet_libraries()  # before transformers imports what chatters
