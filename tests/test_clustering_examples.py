"""Training Examples of clustered histories: no behaviour from a target's future, every target once."""

import dataclasses
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import Clustering
from model.feature import Feature, Role
from pipelines.clustering.entries import concatenate
from pipelines.clustering.example_columns import ExampleColumns, ExampleError, history_of
from pipelines.clustering.examples import clustered_examples, example_ranges
from pipelines.clustering.life import clusterable
from pipelines.clustering.state import advance, decode_life, encode_life
from pipelines.examples import encode_example
from tests.clustering_support import (
    CONFIG,
    SCHEMA,
    decoded,
    entries,
    example_of,
    random_life,
    random_vectors,
    schema_with,
    vectors_of,
)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(get_args(Clustering)),
    st.integers(0, 150),
    st.integers(0, 60),
    st.integers(0, 5),
    st.sampled_from([60, 10_000]),
)
@settings(max_examples=50, deadline=None)
def test_targets_are_kept_and_clusters_never_hold_their_future(
    seed: int, method: Clustering, behaviours: int, targets: int, delay: int, span: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = random_vectors(20)
    config = dataclasses.replace(CONFIG, clustering=method)
    life = random_life(rng, behaviours, 23, span, vectors)
    record = example_of(life, np.sort(rng.integers(0, span, targets)).tolist(), delay=delay)
    source = decoded(record)
    seen: list[int] = []
    for made in clustered_examples(record, SCHEMA, config, vectors):
        row = decoded(made.record)
        seen += row["target/item_id"]
        size, time = np.array(row["history/cluster_size"] or [], int), np.array(row["history/timestamp"] or [], int)
        places = [source["target/item_id"].index(item) for item in row["target/item_id"]]
        ends = np.array(source["target/history_end"])[places]
        covered = int(size[: made.clusters].sum())
        # What is clustered is what its first target sees, without the newest.
        assert covered == clusterable(life.time[: ends[0]], config.short_term_length)
        assert np.all(size[made.clusters :] == 1)
        # What each target sees adds up to what it saw before.
        for end, before, target in zip(row["target/history_end"], ends.tolist(), row["target/timestamp"], strict=True):
            assert end >= made.clusters
            assert size[:end].sum() == before
            assert np.all(time[:end] < target - delay)
        first_time = row["target/timestamp"][0]
        assert np.all(time[: made.clusters] < first_time - delay)
        # The single ones are the behaviours themselves, in their order.
        assert np.array_equal(time[made.clusters :], life.time[covered : ends[-1]])
        assert row["history/item_id"][made.clusters :] == life.item[covered : ends[-1]].tolist()
        assert ends[-1] - ends[0] <= config.recluster_after
        assert np.all(np.diff(time) >= 0)
        assert made.behaviours == size.sum() == ends[-1]
        for name in ("label", "timestamp", "page_position"):
            assert row[f"target/{name}"] == [source[f"target/{name}"][i] for i in places]
        assert (row["user_id"], row["user/activity"]) == ([b"u"], [b"high"])
    assert seen == source["target/item_id"]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_what_happens_later_changes_no_earlier_example(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = random_vectors(20)
    life = random_life(rng, 200, 20, 1000, vectors)
    cut = int(rng.integers(1, 1000))
    times = np.sort(rng.integers(0, 1000, 40))
    early = life.take(life.time < cut)
    changed = life.take(life.time >= cut)
    changed = dataclasses.replace(changed, item=rng.permutation(changed.item))
    other = concatenate([early, changed])
    made = [
        [decoded(e.record) for e in clustered_examples(example_of(one, times.tolist()), SCHEMA, CONFIG, vectors)]
        for one in (life, other)
    ]
    for first, second in zip(*made, strict=True):
        for target, end in zip(first["target/timestamp"], first["target/history_end"], strict=True):
            if target <= cut:
                for name in ("item_id", "timestamp", "cluster_size", "liked"):
                    assert (first[f"history/{name}"] or [])[:end] == (second[f"history/{name}"] or [])[:end]


def test_ranges_of_targets() -> None:
    end = np.array([0, 5, 10, 11, 30, 30, 41])
    assert list(example_ranges(end, 10)) == [(0, 3), (3, 4), (4, 6), (6, 7)]
    assert list(example_ranges(end[:0], 10)) == []


def test_hand_computed_example() -> None:
    vectors = vectors_of({1: [0, 0], 2: [0.6, 0], 3: [1.4, 0], 4: [9, 9]})
    life = entries([1, 1, 2, 3, 4, 4, 4], range(0, 70, 10), play=range(7), completion=[1.0] * 7)
    # The first target sees all 7; the newest 3 stay single.
    (made,) = clustered_examples(example_of(life, [65, 99]), SCHEMA, CONFIG, vectors)
    row = decoded(made.record)
    assert row["history/item_id"] == [2, 4, 4, 4]
    assert row["history/cluster_size"] == [4, 1, 1, 1]
    assert row["history/timestamp"] == [15, 40, 50, 60]
    assert row["history/play_seconds"] == [1.5, 4.0, 5.0, 6.0]
    assert row["target/history_end"] == [4, 4]
    assert "history/cluster_group" not in row


def test_the_next_example_goes_on_from_the_clusters() -> None:
    vectors = vectors_of({1: [0.0], 2: [10.0]})
    config = dataclasses.replace(CONFIG, max_cluster_size=16, recluster_after=5)
    # 20 behaviours, then 7 more of item 2 up to the second target: fewer than were clustered, so they join.
    life = entries([1, 2] * 10 + [2] * 7, range(27))
    first, second = clustered_examples(example_of(life, [20, 30]), SCHEMA, config, vectors)
    assert decoded(first.record)["history/cluster_size"][: first.clusters] == [9, 8]
    assert sorted(decoded(second.record)["history/cluster_size"][: second.clusters]) == [10, 14]


def test_a_user_without_history_or_targets() -> None:
    vectors = vectors_of({1: [0.0]})
    none = entries([], [])
    (made,) = clustered_examples(example_of(none, [5]), SCHEMA, CONFIG, vectors)
    row = decoded(made.record)
    assert (row["target/history_end"], row["history/item_id"], row["history/cluster_size"]) == ([0], [], [])
    assert list(clustered_examples(example_of(entries([1], [1]), []), SCHEMA, CONFIG, vectors)) == []


@pytest.mark.parametrize(
    ("times", "targets", "message"), [([3, 1], [5], "ascend"), ([1, 2], [2, 1], "history_end within the 2 behaviours")]
)
def test_what_is_out_of_order_is_named(times: list[int], targets: list[int], message: str) -> None:
    with pytest.raises(ExampleError, match=rf"user 'u'.*{message}"):
        list(clustered_examples(example_of(entries([1, 1], times), targets), SCHEMA, CONFIG, vectors_of({1: [0.0]})))


def test_columns_of_another_type_or_length_are_named() -> None:
    life = entries([1, 1], [1, 2])
    short = dataclasses.replace(life, cross=life.cross | {"liked": np.array([1])})
    with pytest.raises(ExampleError, match=r"user 'u': feature 'history/liked': expected 2 values, got 1"):
        list(clustered_examples(example_of(short, [5]), SCHEMA, CONFIG, vectors_of({1: [0.0]})))
    wrong = dataclasses.replace(life, cross=life.cross | {"liked": np.array([1, 2], np.float32)})
    with pytest.raises(ExampleError, match=r"'history/liked': expected int64, got float"):
        list(clustered_examples(example_of(wrong, [5]), SCHEMA, CONFIG, vectors_of({1: [0.0]})))


def test_sizes_of_another_number_and_users_that_are_no_text_are_named() -> None:
    record = encode_example(
        {"user_id": pa.array([b"\xff"], pa.binary()), "history/item_id": np.array([1, 1])}
        | {f"history/{name}": np.array([3, 3]) for name in ("timestamp", "liked")}
        | {f"history/{name}": np.ones(2, np.float32) for name in ("play_seconds", "completion")}
        | {"history/cluster_size": np.array([2])}
    )
    with pytest.raises(
        ExampleError, match="user '\N{REPLACEMENT CHARACTER}': feature 'history/cluster_size': expected 2 values, got 1"
    ):
        history_of(ExampleColumns(record), SCHEMA)


def test_text_features_are_those_of_the_representative_and_text_completion_groups() -> None:
    stance = Feature("stance", Role.CROSS, "string", values=("no", "yes"))
    schema = schema_with(cross=(stance,), completion=stance)
    vectors = vectors_of({1: [0.0], 2: [1.0]})
    text = [b"no", b"yes", b"no", b"yes", b"", b"no", b"yes", b"no"]
    life = dataclasses.replace(entries([1, 2] * 4, range(8)), cross={"stance": pa.array(text, pa.large_binary())})
    (made,) = clustered_examples(example_of(life, [9]), schema, CONFIG, vectors)
    row = decoded(made.record)
    # The oldest five: two times no, two times yes, and the missing one.
    assert sorted(zip(row["history/stance"][:3], row["history/cluster_size"][:3], strict=True)) == [
        (b"", 1), (b"no", 2), (b"yes", 2)
    ]  # fmt: skip
    assert row["history/stance"][3:] == text[5:]
    state = advance(None, life, schema, CONFIG, vectors, b"u").life
    user, again = decode_life(encode_life(b"u", state), schema)
    assert (user, again.history.cross["stance"].to_pylist()) == (b"u", row["history/stance"])
    later = dataclasses.replace(entries([2], [9]), cross={"stance": pa.array([b"no"], pa.large_binary())})
    joined = advance(again, later, schema, CONFIG, vectors, b"u").life
    found = dict(zip(joined.history.cross["stance"].to_pylist()[:3], joined.history.size[:3].tolist(), strict=True))
    assert found == {b"no": 3, b"yes": 2, b"": 1}
