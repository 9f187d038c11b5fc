"""Records of runs: read, append, merge, and refuse what is not one."""

from __future__ import annotations

import json

import pytest

from edge.scaling.records import PostQuantization, append_record, read_records
from runtime_tests.scaling.some_records import record, write_records


def test_records_come_back(tmp_path):
    path = tmp_path / "deep" / "records.jsonl"
    post = PostQuantization(method="gptq", weight_bits=2, group=32, trained_loss=2.5)
    kept = [record(), record(3.1, seed=1), record(2.9, post=post)]
    for one in kept:
        append_record(path, one)
    assert read_records([path]) == kept
    assert kept[2].damage == pytest.approx(0.4)
    write_records(tmp_path / "again.jsonl", kept)
    assert (tmp_path / "again.jsonl").read_text() == path.read_text()


def test_machines_merge(tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_records(first, [record(), record(3.1, seed=1)])
    write_records(second, [record(), record(3.2, seed=2)])
    assert [one.loss for one in read_records([first, second])] == [3.0, 3.1, 3.2]


def test_one_run_with_two_losses_is_refused(tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_records(first, [record()])
    write_records(second, [record(3.5)])
    with pytest.raises(ValueError, match=r"b.jsonl:1 is the run of .*a.jsonl:1 with another loss \(3.5, 3\)"):
        read_records([first, second])


def test_a_line_twice_in_a_file_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    write_records(path, [record(), record()])
    with pytest.raises(ValueError, match=r"a.jsonl:2 repeats .*a.jsonl:1; remove one of them"):
        read_records([path])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"unit": "bits per byte"}, "unit: Input should be 'nats per token'"),
        ({"schema_version": "edge.scaling/0"}, "schema_version: Input should be 'edge.scaling/1'"),
        ({"loss": float("nan")}, "loss: Input should be"),
        ({"loss": -1.0}, "loss: Input should be greater than 0"),
        ({"loss": None}, "loss: Input should be a valid number"),
        ({"perplexity": 20.0}, "perplexity: Extra inputs are not permitted"),
        ({"parameters": 0}, "parameters: Input should be greater than or equal to 1"),
    ],
)
def test_other_units_and_values_are_refused(tmp_path, change, said):
    path = tmp_path / "a.jsonl"
    write_records(path, [record()])
    path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n")
    with pytest.raises(
        ValueError, match=r"a.jsonl:1 is not a record of edge.scaling/1 in nats per token: " + said
    ):
        read_records([path])


def test_low_bits_and_their_tokens_belong_together():
    with pytest.raises(ValueError, match="low_bit_tokens is 0 in full precision, and only there"):
        record(weight_bits=2.0)
    with pytest.raises(ValueError, match="low_bit_tokens is 0 in full precision, and only there"):
        record(low_bit_tokens=10)
    with pytest.raises(ValueError, match="they cannot be more"):
        record(weight_bits=2.0, low_bit_tokens=2_000_000)
    assert record(weight_bits=2.0, low_bit_tokens=250_000).training.low_bit_share == 0.25


def test_files_that_are_not_there_or_torn(tmp_path):
    with pytest.raises(ValueError, match="there is no file of records"):
        read_records([tmp_path / "none.jsonl"])
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"bytes.jsonl is not a file of records: it is not text in UTF-8"):
        read_records([tmp_path / "bytes.jsonl"])
    path = tmp_path / "torn.jsonl"
    write_records(path, [record()])
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"torn.jsonl:1 is not a record"):
        read_records([path])
