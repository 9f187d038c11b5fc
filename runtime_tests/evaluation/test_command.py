"""The command: one table and one JSON over checkpoints and programs, and bad input in a sentence."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.evaluation.__main__ import main
from edge.evaluation.wikitext import TEST_ROWS
from edge.formats import BY_NAME
from export import to_pte
from runtime_tests.checkpoints.quantized_files import write
from runtime_tests.checkpoints.test_imported import dequantised
from runtime_tests.tiny import TEXT, save_tiny, tiny_tokenizer

ROOT = Path(__file__).resolve().parents[3]
QUESTIONS = [
    {"query": "The mouse sat", "choices": ["beside the cake", "all"], "gold": i % 2} for i in range(4)
]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Two texts, a text as long as WikiText-2's split, questions, two checkpoints, and a program of one."""
    directory = tmp_path_factory.mktemp("files")
    (directory / "a.txt").write_text(TEXT)
    (directory / "b.txt").write_text(TEXT[: len(TEXT) // 2])
    (directory / "wiki.test.raw").write_text(" \n" * (TEST_ROWS - 40) + " ants \n" * 40)
    (directory / "mice.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    save_tiny(directory / "full")
    save_tiny(directory / "two", BY_NAME["int2"])
    to_pte.main(["--bits", "2", "--model", str(directory / "two"), "--output", str(directory / "program")])
    return directory


def test_one_table_over_checkpoints_and_programs(files, tmp_path, capsys):
    models = [str(files / name) for name in ("full", "two", "program", "program/model.pte")]
    output, record = tmp_path / "table.md", tmp_path / "figures.json"
    arguments = ["--model", *models, "--data", str(files / "a.txt"), str(files / "b.txt"), "--context", "32"]
    arguments += ["--wikitext", str(files), "--choices", str(files / "mice.jsonl"), "--limit", "3"]
    assert main([*arguments, "--output", str(output), "--json", str(record)]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith(output.read_text())
    assert not list(tmp_path.glob(".*"))

    lines = [line for line in output.read_text().splitlines() if line.startswith("|")]
    head, rule, *rows = [[c.strip() for c in line.split("|")[1:-1]] for line in lines]
    texts = [f"perplexity {files.name}/{name}.txt" for name in "ab"]
    conventions = ["perplexity WikiText-2, ParetoQ", "perplexity WikiText-2, MobileLLM"]
    assert head == ["model", "kind", "bits", *texts, *conventions, "accuracy % mice", "weight bytes"]
    assert len(rule) == len(head)
    kinds = [("checkpoint", "16"), ("checkpoint", "2"), ("program", "2"), ("program", "2")]
    assert [tuple(row[:3]) for row in rows] == [(m, *kind) for m, kind in zip(models, kinds, strict=True)]
    assert all(1 < float(value) < 1e6 for row in rows for value in row[3:6])
    assert all(row[6] == "-" for row in rows)  # 64 positions
    assert all(re.fullmatch(r"\d+\.\d ± \d+\.\d / \d+\.\d ± \d+\.\d", row[7]) for row in rows)
    assert rows[2][3:] == rows[3][3:]
    size = (files / "two" / "model.safetensors").stat().st_size
    assert rows[1][-1] == f"{size:,}"
    assert rows[2][-1] == f"{(files / 'program' / 'model.pte').stat().st_size:,}"

    notes = [line for line in output.read_text().splitlines() if line.startswith("- ")]
    assert (
        "- perplexity WikiText-2, MobileLLM: its blocks of 2048 tokens do not fit the model's 64 positions."
        in notes
    )
    assert any(
        note.startswith("- accuracy % mice: 3 questions; each choice after its query") for note in notes
    )
    whose = f"({models[2]}, {models[3]}): the fake-quantised model's is"
    assert sum(whose in note for note in notes) == 4  # of three perplexities and the accuracy
    for row in rows:
        assert f"{row[0]}: perplexity WikiText-2, ParetoQ {row[5]}\n" in printed  # as soon as it was known


def test_json_has_every_figure(files, tmp_path):
    record = tmp_path / "figures.json"
    arguments = ["--model", str(files / "two"), str(files / "program"), "--data", str(files / "a.txt")]
    main([*arguments, "--choices", str(files / "mice.jsonl"), "--json", str(record)])
    content = json.loads(record.read_text())
    assert content["versions"]["torch"]
    two, program = content["models"]
    assert (two["kind"], two["bits"], two["positions"]) == ("checkpoint", 2, 64)
    assert program["kind"] == "program"
    (a,), (b,) = two["perplexities"], program["perplexities"]
    assert a["tokens"] == b["tokens"] > 64
    assert a["factor"] is None
    assert max(a["value"] / b["value"], b["value"] / a["value"]) <= b["factor"]
    (a,), (b,) = two["accuracies"], program["accuracies"]
    assert a["questions"] == b["questions"] == 4
    assert a["raw"]["value"] == 0.5  # the same question four times, each choice right in two
    assert a["raw"]["standard_error"] == 0.25
    assert abs(a["raw"]["value"] - b["raw"]["value"]) <= b["raw"]["distance"]


def test_bad_input_is_refused(files, tmp_path):
    model, text = ["--model", str(files / "full")], ["--data", str(files / "a.txt")]
    for arguments, words in (
        (model, "nothing to evaluate on"),
        ([*model, *text, "--context", "65"], r"--context must lie in 1\.\.64"),
        (
            [*model, *text, "--output", str(tmp_path / "no" / "table.md")],
            "--output .*a directory that exists",
        ),
        ([*model, *text, "--json", str(tmp_path)], "--json .*a directory that exists"),
        ([*model, *text, "--output", text[1]], "--output .*a.txt is what another flag names"),
        ([*model, *text, "--output", "t.md", "--json", "t.md"], "--json t.md is what another flag names"),
        ([*model, "--choices", str(files / "mice.jsonl"), "--limit", "0"], "--limit must be at least 1"),
        ([*model, "--choices", "none.jsonl"], "no such file"),
        ([*model, "--wikitext", str(files / "a.txt")], "not the test split"),
        (["--model", str(tmp_path / "none"), *text], "not a directory"),
        (["--model", str(files / "program/other.pte"), *text], "other.pte is not model.pte"),
        (["--model", str(tmp_path / "none.pte"), *text], "not an exported program"),
    ):
        with pytest.raises(ValueError, match=words):
            main(arguments)


def test_a_wrong_name_shows_before_anything_runs(files, tmp_path, capsys):
    output = tmp_path / "table.md"
    models = ["--model", str(files / "full"), str(tmp_path / "none")]
    with pytest.raises(ValueError, match="not a directory"):
        main([*models, "--data", str(files / "a.txt"), "--output", str(output)])
    assert capsys.readouterr().out == ""
    assert not output.exists()


def test_an_altered_program_is_refused(files, tmp_path):
    program = shutil.copytree(files / "program", tmp_path / "program")
    data = bytearray((program / "model.pte").read_bytes())
    data[len(data) // 2] ^= 1
    (program / "model.pte").write_bytes(data)
    with pytest.raises(ValueError, match="was altered"):
        main(["--model", str(program), "--data", str(files / "a.txt")])
    (program / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"has no manifest\.json"):
        main(["--model", str(program), "--data", str(files / "a.txt")])


def test_a_mistake_is_one_line_and_exit_code_2(files):
    command = [
        sys.executable,
        "-m",
        "edge.evaluation",
        "--model",
        str(files / "full"),
        "--data",
        "none.txt",
    ]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 2
    assert re.fullmatch(r"error: none\.txt .*\n", result.stderr)


def test_what_others_quantised_has_the_perplexity_of_its_values(tmp_path, capsys):
    """GPTQ's file beside a full-precision one of what its tables stand for."""
    written = write(tmp_path / "gptq", "gptq", permuted=True)
    dequantised(written, np.float64).float().save_pretrained(tmp_path / "float")
    for name in ("gptq", "float"):
        shutil.copy(tiny_tokenizer(), tmp_path / name)
    (tmp_path / "text.txt").write_text(TEXT)
    record = tmp_path / "figures.json"
    arguments = ["--model", str(tmp_path / "gptq"), str(tmp_path / "float"), "--context", "32"]
    arguments += ["--data", str(tmp_path / "text.txt"), "--json", str(record)]
    assert main(arguments) == 0
    found, expected = (m["perplexities"][0]["value"] for m in json.loads(record.read_text())["models"])
    assert found == pytest.approx(expected, rel=1e-5)
    assert "| checkpoint | 4 |" in re.sub(" +", " ", capsys.readouterr().out)
