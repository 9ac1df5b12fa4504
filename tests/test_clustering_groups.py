"""Completion groups: where each behaviour goes, and where the broken ones do."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from model.config import TwinConfig
from model.feature import Feature, Role
from model.schema import item_key
from pipelines.clustering.groups import UNKNOWN_ITEMS, groups_of
from tests.clustering_support import SCHEMA, entries, schema_with, vectors_of

FIVE = TwinConfig(completion_groups=5)
ONE_ITEM = vectors_of({1: [0.0, 1.0]})
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("ratio", "group"),
    [
        *[(0.0, 0), (-0.0, 0), (0.19, 0), (0.2, 1), (0.5, 2), (0.79, 3), (0.81, 4), (1.0, 4), (3.7, 4), (1e30, 4)],
        *[(NAN, 5), (INF, 5), (-INF, 5), (-0.01, 5)],
    ],
)
def test_a_ratio_is_cut_into_equal_parts_and_broken_ones_are_apart(ratio: float, group: int) -> None:
    assert groups_of(entries([1], [0], [ratio]), SCHEMA, FIVE, ONE_ITEM).tolist() == [group]


def test_time_played_is_divided_by_the_duration() -> None:
    schema = schema_with(duration=Feature("duration_seconds", Role.INHERENT, "float32"))
    items = {1: 10.0, 2: 0.0, 3: NAN, 4: -5.0, 5: INF}
    vectors = vectors_of({i: [0.0] for i in items}, items)
    life = entries([1, 1, 1, 1, 2, 3, 4, 5], range(8), [0.0, 5.0, 25.0, NAN, 5.0, 5.0, 5.0, 5.0])
    assert groups_of(life, schema, FIVE, vectors).tolist() == [0, 2, 4, 5, 5, 5, 5, 5]


def test_unknown_items_are_apart_whatever_their_completion() -> None:
    life = entries([1, 9, 9], range(3), [0.1, 0.1, NAN])
    assert groups_of(life, SCHEMA, FIVE, ONE_ITEM).tolist() == [0, UNKNOWN_ITEMS, UNKNOWN_ITEMS]
    no_items = vectors_of({})
    assert groups_of(life, SCHEMA, FIVE, no_items).tolist() == [UNKNOWN_ITEMS] * 3


def test_categorical_values_are_the_groups() -> None:
    stance = Feature("stance", Role.CROSS, "string")
    schema = schema_with(cross=(stance,), completion=stance)
    values = pa.array([b"no", b"yes", b"", b"no"], pa.large_binary())
    life = dataclasses.replace(entries([1] * 4, range(4)), cross={"stance": values})
    expected = [item_key("no"), item_key("yes"), item_key(""), item_key("no")]
    assert groups_of(life, schema, FIVE, ONE_ITEM).tolist() == expected
    assert len(set(expected)) == 3
    stars = Feature("liked", Role.CROSS, "int64")
    life = entries([1] * 3, range(3), liked=[4, -1, 0])
    assert groups_of(life, schema_with(completion=stars), FIVE, ONE_ITEM).tolist() == [4, -1, 0]


def test_without_completion_there_is_one_group() -> None:
    life = entries([1, 1, 9], range(3), [0.1, NAN, 0.9])
    found = groups_of(life, schema_with(completion=None), FIVE, ONE_ITEM)
    assert found.tolist() == [0, 0, UNKNOWN_ITEMS]
    empty = life.take(np.zeros(0, np.int64))
    assert groups_of(empty, SCHEMA, FIVE, ONE_ITEM).tolist() == []
