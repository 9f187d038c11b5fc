"""Sets of cores as they are written."""

from __future__ import annotations

import pytest

from edge.latency.devices.cores import chosen_cores, on_cores, parse_cores, spell_cores


@pytest.mark.parametrize(
    ("text", "cores", "spelt"),
    [
        ("0", [0], "0"),
        ("4-7,0", [0, 4, 5, 6, 7], "0,4-7"),
        (" 1 , 3-4,4,3", [1, 3, 4], "1,3-4"),
        ("0-7", list(range(8)), "0-7"),
        ("4095", [4095], "4095"),
    ],
)
def test_lists_of_cores_are_read_and_spelt(text, cores, spelt):
    assert parse_cores(text) == cores
    assert spell_cores(cores) == spelt


@pytest.mark.parametrize(
    "text", ["", ",", "1,", "7-4", "-1", "a", "1-", "1 2", "0x3", "99999999999", "1-99999999999", "٣"]
)
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="write them like 4-7 or 0,2,4-7"):
        parse_cores(text)


def test_only_cores_that_exist_are_chosen():
    assert chosen_cores(None, [0, 2], "it") == [0, 2]
    assert chosen_cores([2], [0, 2], "it") == [2]
    with pytest.raises(ValueError, match=r"^it does not offer core 1,3, only 0,2$"):
        chosen_cores([1, 2, 3], [0, 2], "it")


def test_a_mask_is_hexadecimal():
    assert on_cores(None) == []
    assert on_cores([4, 5, 6, 7]) == ["taskset", "f0"]
    assert on_cores([64]) == ["taskset", "10000000000000000"]
