"""The tokenizer command: any text survives it, and bad input leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.data.train_tokenizer import SMALLEST_VOCAB, main
from edge.model.tokenizer import Tokenizer
from runtime_tests.tiny import TEXT


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def test_any_text_survives(tmp_path: Path, text: Path, capsys: pytest.CaptureFixture):
    assert main(["--data", str(text), "--vocab-size", "280", "--output", str(tmp_path / "tok")]) == 0
    assert "280 entries" in capsys.readouterr().out
    assert [p.name for p in (tmp_path / "tok").iterdir()] == ["tokenizer.json"]
    tokenizer = Tokenizer(tmp_path / "tok")
    assert tokenizer.vocab_size == 280
    for sample in ("The mouse sat.", "日本 🐭\n\tß", "  two  spaces ", "\x00\x7f"):
        assert tokenizer.decode(tokenizer.encode(sample)) == sample
    assert min(tokenizer.encode("the cake")) > 2  # 0, 1 and 2 are unk, bos and eos


def test_a_small_text_says_that_it_gives_fewer_entries(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "text.txt"
    path.write_text("ab ab")
    assert main(["--data", str(path), "--vocab-size", "5000", "--output", str(tmp_path / "tok")]) == 0
    assert "the text holds no more; 5000 were asked for" in capsys.readouterr().out


def test_bad_input_leaves_nothing_behind(tmp_path: Path, text: Path):
    output = tmp_path / "tok"
    with pytest.raises(ValueError, match=f"must lie in {SMALLEST_VOCAB}"):
        main(["--data", str(text), "--vocab-size", str(SMALLEST_VOCAB - 1), "--output", str(output)])
    with pytest.raises(ValueError, match="not a readable file"):
        main(["--data", str(tmp_path / "missing.txt"), "--output", str(output)])
    with pytest.raises(ValueError, match=f"no tokens to count before there is a tokenizer; give {text}$"):
        main(["--data", f"{text}:1e6", "--output", str(output)])
    with pytest.raises(ValueError, match="is a file; give a directory"):
        main(["--data", str(text), "--output", str(text)])
    with pytest.raises(ValueError, match="--vocab-size must lie in"):
        main(["--data", str(text), "--vocab-size", "99999999999999999999", "--output", str(output)])
    assert not output.exists()


def test_no_tokenizer_is_overwritten(tmp_path: Path, text: Path):
    words = ["--data", str(text), "--vocab-size", "300", "--output", str(tmp_path / "tok")]
    assert main(words) == 0
    before = (tmp_path / "tok" / "tokenizer.json").read_bytes()
    with pytest.raises(ValueError, match=r"tokenizer.json exists, and a model may depend on it"):
        main([*words[:3], "290", *words[4:]])
    assert (tmp_path / "tok" / "tokenizer.json").read_bytes() == before
