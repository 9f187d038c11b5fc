"""Train a byte-level BPE tokenizer on local text."""

from __future__ import annotations

import argparse
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from edge.cli import refuse_unwritable
from edge.data import Source, documents
from edge.files import only_writer, staged_file
from edge.model.tokenizer import TOKENIZER_FILES

#: Ids 0, 1 and 2, as in Llama.
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")
BEGIN = "<s>"
#: Bytes and special tokens; merges come on top.
SMALLEST_VOCAB = 256 + len(SPECIAL_TOKENS)
LARGEST_VOCAB = 1 << 24


def train_tokenizer(sources: list[str], vocab_size: int) -> Tokenizer:
    """Train byte-level BPE with at most ``vocab_size`` entries; every byte is a token.

    Raises:
        ValueError: the vocabulary is too small for the bytes, or a source cannot be read.
    """
    if not SMALLEST_VOCAB <= vocab_size < LARGEST_VOCAB:
        raise ValueError(
            f"--vocab-size must lie in {SMALLEST_VOCAB}..{LARGEST_VOCAB}; bytes and special tokens come first"
        )
    for text in sources:
        if (source := Source.parse(text)).tokens is not None:
            raise ValueError(
                f"{text}: there are no tokens to count before there is a tokenizer; give {source.name}"
            )
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # Runners take the begin token from this template.
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, SPECIAL_TOKENS.index(BEGIN))]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=True,
    )
    tokenizer.train_from_iterator((text for source in sources for text in documents(source)), trainer)
    return tokenizer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edge.data", description=__doc__)
    parser.add_argument("--data", nargs="+", required=True, help="text, named as for training")
    parser.add_argument(
        "--vocab-size", type=int, default=4096, help="number of entries (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, required=True, help="directory for tokenizer.json")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    refuse_unwritable(args.output)
    with only_writer(args.output):
        for name in TOKENIZER_FILES:
            if (args.output / name).exists():
                raise ValueError(
                    f"{args.output / name} exists, and a model may depend on it: choose another --output"
                )
        tokenizer = train_tokenizer(args.data, args.vocab_size)
        args.output.mkdir(parents=True, exist_ok=True)
        path = args.output / "tokenizer.json"
        with staged_file(path) as staged:
            tokenizer.save(str(staged), pretty=False)
    entries = tokenizer.get_vocab_size()
    fewer = (
        "" if entries == args.vocab_size else f" (the text holds no more; {args.vocab_size} were asked for)"
    )
    print(f"{entries} entries in {path}{fewer}")
    return 0
