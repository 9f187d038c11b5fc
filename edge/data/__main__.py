"""Train a tokenizer on text files."""

from edge.cli import main_guard
from edge.data.train_tokenizer import main

if __name__ == "__main__":
    main_guard(main)
