"""Clusters of one life: what is promised of every one, and hand-computed virtual items."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import Clustering
from pipelines.clustering.chunks import split_by_time
from pipelines.clustering.groups import UNKNOWN_ITEMS
from pipelines.clustering.hierarchical import adaptive_parts, divide_until_small
from pipelines.clustering.kmeans import divide
from pipelines.clustering.life import assign, cluster, clusterable
from pipelines.clustering.virtual_items import merge, representatives
from tests.clustering_support import CONFIG, entries, random_life, random_vectors, vectors_of

METHODS: tuple[Clustering, ...] = get_args(Clustering)
NAN = float("nan")


@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS), st.integers(0, 120), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_every_behaviour_is_in_exactly_one_cluster_of_its_group(
    seed: int, method: Clustering, behaviours: int, items: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = random_vectors(max(items - 3, 1))  # the last ids are unknown
    life = random_life(rng, behaviours, items, 50, vectors)
    life = life.take(np.lexsort((life.item, life.time)))
    config = dataclasses.replace(CONFIG, clustering=method)
    label, representative = assign(life, vectors, config, b"u")
    clusters = len(representative)
    assert label.shape == (behaviours,)
    assert np.array_equal(np.unique(label), np.arange(clusters))
    assert np.array_equal(label[representative], np.arange(clusters))
    sizes = np.bincount(label, minlength=clusters)
    if method != "kmeans":
        assert clusters == 0 or sizes.max() <= config.max_cluster_size
    for c in range(clusters):
        assert len(set(life.group[label == c].tolist())) == 1
    found = cluster(life, vectors, config, b"u")
    assert sorted(found.size.tolist()) == sorted(sizes.tolist())
    assert np.all(np.diff(found.time) >= 0)
    for group in np.unique(life.group):
        assert found.size[found.group == group].sum() == (life.group == group).sum()


@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS))
@settings(max_examples=25, deadline=None)
def test_seed_and_behaviours_alone_decide(seed: int, method: Clustering) -> None:
    rng = np.random.default_rng(seed)
    vectors = random_vectors(30)
    life = random_life(rng, 80, 33, 20, vectors)  # 20 times for 80 behaviours: many coincide
    life = life.take(np.unique(np.stack([life.time, life.item]), axis=1, return_index=True)[1])
    config = dataclasses.replace(CONFIG, clustering=method)
    first = cluster(life, vectors, config, b"u")
    again = cluster(life.take(rng.permutation(len(life))), vectors, config, b"u")
    for name in ("item", "time", "size", "group"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    for name, values in first.cross.items():
        assert np.allclose(values, again.cross[name], equal_nan=True), name


def test_user_and_seed_change_what_is_drawn() -> None:
    vectors = random_vectors(200)
    life = random_life(np.random.default_rng(0), 600, 200, 10**6, vectors)
    first = cluster(life, vectors, CONFIG, b"u")
    assert not np.array_equal(first.size, cluster(life, vectors, CONFIG, b"v").size)
    other = dataclasses.replace(CONFIG, seed=CONFIG.seed + 1)
    assert not np.array_equal(first.size, cluster(life, vectors, other, b"u").size)


def test_two_kinds_of_items_are_two_clusters_with_hand_computed_virtual_items() -> None:
    # Items 1, 2, 3 lie around (0, 0), item 4 at (9, 9); the centroid of 1, 1, 2, 3 is (0.5, 0), nearest is item 2.
    vectors = vectors_of({1: [0, 0], 2: [0.6, 0], 3: [1.4, 0], 4: [9, 9]})
    life = entries(
        [1, 1, 2, 3, 4],
        [10, 20, 30, 41, 60],
        completion=[0.6, 0.7, NAN, 0.8, 0.9],
        play=[1, 2, 3, 6, 7],
        liked=[0, 0, 1, 0, 5],
        group=[1] * 5,
    )
    found = cluster(life, vectors, CONFIG, b"u")
    assert found.item.tolist() == [2, 4]
    assert found.size.tolist() == [4, 1]
    assert found.time.tolist() == [25, 60]  # (10 + 20 + 30 + 41) / 4 = 25.25, rounded down
    assert found.cross["liked"].tolist() == [1, 5]
    assert found.cross["play_seconds"].tolist() == [3.0, 7.0]
    assert found.cross["completion"] == pytest.approx([0.7, 0.9])  # the missing one does not count
    assert found.group.tolist() == [1, 1]


def test_of_equally_near_members_the_newest_represents() -> None:
    vectors = vectors_of({1: [-1.0], 2: [1.0]})
    life = entries([1, 2, 1, 2], [0, 1, 2, 3], liked=[0, 1, 2, 3])
    found = cluster(life, vectors, CONFIG, b"u")
    assert (found.item.tolist(), found.cross["liked"].tolist(), found.size.tolist()) == ([2], [3], [4])


def test_means_ignore_what_is_not_a_number_and_are_weighted_by_size() -> None:
    merged = merge(
        entries([1, 2, 3], [0, 30, 90], play=[1.0, 4.0, float("inf")], completion=[NAN] * 3, size=[3, 1, 2]),
        np.array([0, 0, 0]),
        np.array([1]),
    )
    assert (merged.item.tolist(), merged.size.tolist(), merged.time.tolist()) == ([2], [6], [35])  # (30 + 180) / 6
    assert merged.cross["play_seconds"].tolist() == [1.75]  # (3 x 1 + 1 x 4) / 4
    assert np.isnan(merged.cross["completion"]).tolist() == [True]


def test_mean_time_of_a_million_far_times_does_not_overflow() -> None:
    n = 1_000_000
    times = np.full(n, (1 << 53) - 1)
    times[0] -= 10 * n
    life = entries([1] * n, times.tolist())
    merged = merge(life, np.zeros(n, np.int64), np.array([0]))
    assert merged.time.tolist() == [(1 << 53) - 1 - 10]


@pytest.mark.parametrize(
    ("times", "mean"),
    [
        ([-(2**53) + 1, *[2**53 - 2] * 6], [-(2**53) + 1, 2**53 - 2]),
        ([5, -(2**63), 2**63 - 1], [0, 5]),
    ],
)
def test_a_mean_time_lies_among_its_members_times_whatever_they_are(times: list[int], mean: list[int]) -> None:
    # The first is a cluster of its own, all others are another one.
    merged = merge(entries([1] * len(times), times), np.minimum(np.arange(len(times)), 1), np.array([0, 1]))
    assert merged.time.tolist() == sorted(mean)


def test_representatives_by_weighted_centroid() -> None:
    points = np.array([[0.0], [1.0], [5.0]], np.float32)
    # Cluster 0: 0, 0, 0, 1 with centroid 0.25: nearest is 0, its newest is entry 3; cluster 1: 5.
    label, point = np.array([0, 0, 0, 0, 1]), np.array([0, 1, 0, 0, 2])
    assert representatives(label, point, points).tolist() == [3, 4]
    assert representatives(np.array([0, 1, 0]), np.array([0, 0, 0]), None).tolist() == [2, 1]


@pytest.mark.parametrize("method", METHODS)
def test_one_behaviour(method: Clustering) -> None:
    life = entries([1], [5])
    found = cluster(life, vectors_of({1: [1.0]}), dataclasses.replace(CONFIG, clustering=method), b"u")
    assert (found.item.tolist(), found.time.tolist(), found.size.tolist()) == ([1], [5], [1])


@pytest.mark.parametrize("method", METHODS)
def test_empty_history(method: Clustering) -> None:
    found = cluster(entries([], []), vectors_of({1: [1.0]}), dataclasses.replace(CONFIG, clustering=method), b"u")
    assert len(found) == 0


def test_one_item_alone_is_split_by_time() -> None:
    found = cluster(entries([1] * 10, range(10)), vectors_of({1: [1.0]}), CONFIG, b"u")
    assert found.size.tolist() == [4, 3, 3]
    assert found.time.tolist() == [1, 5, 8]  # 0..3, 4..6, 7..9


def test_items_with_equal_vectors_are_split_by_time() -> None:
    vectors = vectors_of({i: [0.3, 0.7] for i in range(1, 11)})
    found = cluster(entries(range(1, 11), range(10)), vectors, CONFIG, b"u")
    assert sorted(found.size.tolist()) == [3, 3, 4]


def test_unknown_items_alone_are_split_by_time() -> None:
    life = entries([7, 8, 9, 7, 7], range(5), group=[UNKNOWN_ITEMS] * 5)
    found = cluster(life, vectors_of({1: [1.0]}), CONFIG, b"u")
    assert found.size.tolist() == [3, 2]
    assert found.item.tolist() == [9, 7]  # the newest of each
    assert found.group.tolist() == [UNKNOWN_ITEMS] * 2


def test_clusters_of_one_where_that_is_all_that_is_allowed() -> None:
    config = dataclasses.replace(CONFIG, max_cluster_size=1)
    found = cluster(entries([1, 1, 2], [0, 1, 2]), vectors_of({1: [0.0], 2: [1.0]}), config, b"u")
    assert (found.item.tolist(), found.size.tolist()) == ([1, 1, 2], [1, 1, 1])


def test_chunks_are_consecutive_and_led_by_the_member_nearest_to_the_mean() -> None:
    config = dataclasses.replace(CONFIG, clustering="chunks", max_cluster_size=3)
    vectors = vectors_of({1: [0.0], 2: [4.0], 3: [5.0], 4: [100.0]})
    found = cluster(entries([1, 2, 3, 4, 1, 4], range(6)), vectors, config, b"u")
    assert found.size.tolist() == [3, 3]
    assert found.item.tolist() == [2, 4]  # means 3 and 66.7


def test_kmeans_divides_once() -> None:
    config = dataclasses.replace(CONFIG, clustering="kmeans")
    vectors = vectors_of({1: [0.0], 2: [100.0]})
    found = cluster(entries([1] * 7 + [2], range(8)), vectors, config, b"u")
    assert sorted(found.size.tolist()) == [1, 7]


def test_number_of_parts() -> None:
    parts = adaptive_parts(0.3)
    assert [parts(n) for n in (1, 21, 39, 100, 1000, 100_000)] == [2, 2, 3, 3, 7, 31]


def test_sets_are_divided_until_they_are_small() -> None:
    points = np.array([[0.0], [0.1], [50.0], [50.1]], np.float32)
    found = divide_until_small(points, np.array([5, 5, 5, 5]), 10, lambda n: 2, np.random.default_rng(0))
    assert found[0] == found[1] != found[2] == found[3]
    alone = divide_until_small(points, np.array([5, 50, 5, 5]), 6, lambda n: 2, np.random.default_rng(0))
    assert len(set(alone.tolist())) == 4  # what one item alone is too many of stays for the split by time


def test_far_outliers_end_too() -> None:
    points = np.float32(2.0) ** np.arange(-60, 60, dtype=np.float32)[:, np.newaxis]
    found = divide_until_small(points, np.ones(120, np.int64), 2, lambda n: 2, np.random.default_rng(0))
    assert len(np.unique(found)) >= 60


def test_weights_count_as_copies() -> None:
    rng = np.random.default_rng(3)
    points = rng.standard_normal((40, 3)).astype(np.float32)
    weight = np.ones(40, np.float32)
    weight[0] = 1000.0
    label = divide(points.copy(), weight, 2, np.random.default_rng(0))
    assert sorted(np.unique(label).tolist()) == [0, 1]
    # The heavy point drags its centroid to itself, so that only what is nearer to it stays with it.
    own = points[label == label[0]]
    others = points[label != label[0]].mean(axis=0)
    assert np.all(np.linalg.norm(own - points[0], axis=1) <= np.linalg.norm(own - others, axis=1) + 0.05)


def test_more_behaviours_than_float32_counts() -> None:
    points = np.array([[0.0], [9.0], [10.0]], np.float32)
    label = divide(points, np.array([2**24, 1, 1], np.float32), 2, np.random.default_rng(0))
    assert label[0] != label[1] == label[2]


def test_large_sets_are_divided_as_small_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[0, 0], [30, 0]], np.float32)
    truth = rng.integers(2, size=300)
    points = (centres[truth] + rng.standard_normal((300, 2))).astype(np.float32)
    small = divide(points.copy(), np.ones(300, np.float32), 2, np.random.default_rng(5))
    monkeypatch.setattr("pipelines.clustering.kmeans._LARGE", 10)
    large = divide(points.copy(), np.ones(300, np.float32), 2, np.random.default_rng(5))
    assert np.array_equal(small, large)
    assert np.array_equal(small == small[0], truth == truth[0])


def test_runs_of_consecutive_entries() -> None:
    assert split_by_time(np.array([7, 7, 3, 7, 7, 7, 3]), 2).tolist() == [1, 1, 0, 2, 2, 3, 0]
    assert split_by_time(np.zeros(0, np.int64), 2).tolist() == []


@pytest.mark.parametrize(
    ("time", "keep", "expected"),
    [
        ([], 2, 0),
        ([1], 1, 0),
        ([1, 2, 3], 1, 2),
        ([1, 2, 3], 3, 0),
        ([1, 2, 3], 9, 0),
        ([1, 2, 2, 2], 1, 1),  # the newest has two of its own time
        ([2, 2, 2], 1, 0),
        ([1, 1, 2, 3], 2, 2),
    ],
)
def test_the_newest_stay_single_with_all_of_their_time(time: list[int], keep: int, expected: int) -> None:
    assert clusterable(np.array(time, np.int64), keep) == expected
