"""Id -> row, against a dictionary."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.id_index import EMPTY, SLOTS, IdIndex, build


# These five have both of their buckets in common where there are three.
@example({-2820, -14, 0, 30, 55}, [])
@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(EMPTY + 1, np.iinfo(np.int64).max), max_size=300), st.lists(st.integers(-5, 5), max_size=9))
def test_finds_every_id_and_no_other(ids: set[int], others: list[int]) -> None:
    index = IdIndex()
    known = np.array(sorted(ids), np.int64)
    index.assign(known)
    asked = np.array([*sorted(ids), *others, EMPTY], np.int64)
    row_of = {value: row + 1 for row, value in enumerate(sorted(ids))}
    assert index.lookup(asked).numpy().tolist() == [row_of.get(int(value), 0) for value in asked]


@pytest.mark.parametrize("stride", [1, 7, 2**20, 2**32, 2**44])
def test_regular_ids_fit(stride: int) -> None:
    ids = np.arange(1, 200_001, dtype=np.int64) * stride
    keys, rows = build(ids)
    assert keys.shape == rows.shape == (len(keys), SLOTS)
    assert len(keys) * SLOTS < 1.7 * len(ids)
    taken = keys != EMPTY
    assert taken.sum() == len(ids)
    np.testing.assert_array_equal(ids[rows[taken] - 1], keys[taken])


def test_the_layout_repeats() -> None:
    ids = np.random.default_rng(0).integers(0, 2**60, 50_000)
    np.testing.assert_array_equal(build(ids)[0], build(ids)[0])


def test_ids_that_all_collide_are_refused() -> None:
    # Ids that differ only in bits which the mixing drops cannot be made by hand: the same id many times must do.
    with pytest.raises(ValueError, match="12 item ids could not be laid out"):
        build(np.full(12, 5, np.int64))
