"""Training in full precision and quantisation-aware, on transformers' Trainer."""

from edge.quiet import quiet_libraries

quiet_libraries()  # before transformers imports noisy libraries
