"""``python -m edge.training.train_tokenizer``: a byte-level BPE tokenizer from local text."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from edge.cli import main_guard
from edge.training.data import documents

#: Ids 0, 1 and 2, the places Llama gives them.
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")


def train_tokenizer(sources: list[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE of ``vocab_size`` entries; every byte is a token, so no text is unknown."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=True,
    )
    tokenizer.train_from_iterator((text for source in sources for text in documents(source)), trainer)
    return tokenizer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edge.training.train_tokenizer", description=__doc__)
    parser.add_argument("--data", nargs="+", required=True, help="text, JSONL or Parquet files")
    parser.add_argument("--vocab-size", type=int, default=4096, help="entries, special tokens included")
    parser.add_argument("--output", type=Path, required=True, help="directory for tokenizer.json")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.vocab_size < 300:
        raise ValueError(f"--vocab-size must leave room for 256 bytes and the special tokens, not {args.vocab_size}")
    tokenizer = train_tokenizer(args.data, args.vocab_size)
    args.output.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(args.output / "tokenizer.json"))
    print(f"{tokenizer.get_vocab_size()} entries in {args.output / 'tokenizer.json'}")
    return 0


if __name__ == "__main__":
    main_guard(main)
