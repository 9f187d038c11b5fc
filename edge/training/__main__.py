"""Train a model in full precision, or quantisation-aware from a full-precision one."""

from edge.cli import main_guard
from edge.training.train import main

if __name__ == "__main__":
    main_guard(main)
