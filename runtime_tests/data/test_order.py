"""Order of training examples."""

from __future__ import annotations

import pytest

from edge.data import EpochAfterEpoch


def test_more_blocks_than_can_be_shuffled_are_refused():
    with pytest.raises(ValueError, match="1,949,317,738 examples, more than the 268,435,456"):
        EpochAfterEpoch(1_949_317_738, 8, seed=0)


def test_a_run_begins_where_the_one_before_it_ended():
    whole = list(EpochAfterEpoch(10, 47, seed=3))
    for start in (0, 7, 10, 25, 40):
        assert list(EpochAfterEpoch(10, 47 - start, 3, start)) == whole[start:]
