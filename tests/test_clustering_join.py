"""New behaviours join earlier clusters: nearest, near enough, with room, and with averages that stay averages."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import Clustering
from pipelines.clustering.entries import concatenate
from pipelines.clustering.groups import UNKNOWN_ITEMS
from pipelines.clustering.join import join
from pipelines.clustering.life import cluster
from tests.clustering_support import CONFIG, entries, random_life, random_vectors, vectors_of

# Two clusters on a line: item 1 at 0 and item 2 at 10, so that the group's mean is between.
LINE = vectors_of({1: [0.0], 2: [10.0], 3: [1.0], 4: [9.5], 5: [5.0], 6: [-40.0]})
CLUSTERS = entries([1, 2], [100, 200], size=[2, 2], play=[1.0, 4.0], liked=[7, 8])


def test_a_behaviour_joins_the_nearest_cluster_and_moves_its_means() -> None:
    found = join(CLUSTERS, entries([3, 4], [400, 500], play=[4.0, 7.0]), LINE, CONFIG, b"u")
    assert found.item.tolist() == [1, 2]  # the virtual items stay
    assert found.cross["liked"].tolist() == [7, 8]
    assert found.size.tolist() == [3, 3]
    assert found.time.tolist() == [200, 300]  # (2 x 100 + 400) / 3, (2 x 200 + 500) / 3
    assert found.cross["play_seconds"].tolist() == [2.0, 5.0]


def test_a_full_cluster_takes_no_more() -> None:
    # The first one would join item 1, if that had room; so it opens a cluster, which the second joins.
    full = entries([1, 2], [100, 200], size=[4, 2])
    found = join(full, entries([3, 3], [400, 500]), LINE, CONFIG, b"u")
    assert sorted(zip(found.item.tolist(), found.size.tolist(), strict=True)) == [(1, 4), (2, 2), (3, 2)]


def test_one_that_is_farther_than_the_groups_mean_opens_a_cluster() -> None:
    # Item 6 at -40 is 40 from item 1, but 45 from the mean at 5: it joins.
    found = join(CLUSTERS, entries([6], [400]), LINE, CONFIG, b"u")
    assert dict(zip(found.item.tolist(), found.size.tolist(), strict=True)) == {1: 3, 2: 2}
    # Item 5 lies on the mean itself: every cluster is farther.
    found = join(CLUSTERS, entries([5], [400]), LINE, CONFIG, b"u")
    assert sorted(zip(found.item.tolist(), found.size.tolist(), strict=True)) == [(1, 2), (2, 2), (5, 1)]


def test_groups_do_not_mix() -> None:
    new = entries([1, 1], [400, 500], group=[1, 0])
    found = join(CLUSTERS, new, LINE, CONFIG, b"u")
    assert sorted(zip(found.group.tolist(), found.size.tolist(), strict=True)) == [(0, 2), (0, 3), (1, 1)]


def test_a_group_without_clusters_is_clustered_as_in_a_full_run() -> None:
    vectors = random_vectors(50)
    new = random_life(np.random.default_rng(0), 100, 50, 1000, vectors)
    none = new.take(np.zeros(0, np.int64))
    joined, full = join(none, new, vectors, CONFIG, b"u"), cluster(new, vectors, CONFIG, b"u")
    assert joined.item.tolist() == full.item.tolist()
    assert joined.size.tolist() == full.size.tolist()


def test_nothing_new_changes_nothing() -> None:
    found = join(CLUSTERS, CLUSTERS.take(np.zeros(0, np.int64)), LINE, CONFIG, b"u")
    for name in ("item", "time", "size", "group"):
        assert np.array_equal(getattr(found, name), getattr(CLUSTERS, name))


def test_unknown_items_join_the_newest_cluster_of_theirs_or_open_one() -> None:
    clusters = entries([91, 92, 93], [100, 200, 300], size=[1, 3, 3], group=[UNKNOWN_ITEMS] * 3)
    found = join(clusters, entries([94, 95, 96], [400, 500, 600], group=[UNKNOWN_ITEMS] * 3), LINE, CONFIG, b"u")
    assert dict(zip(found.item.tolist(), found.size.tolist(), strict=True)) == {91: 1, 92: 3, 93: 4, 95: 2}


def test_chunks_go_on_in_time() -> None:
    config = dataclasses.replace(CONFIG, clustering="chunks")
    found = join(entries([1, 2], [100, 200], size=[3, 3]), entries([1, 3, 1], [300, 400, 500]), LINE, config, b"u")
    # The older chunk has room, but what it would take is not consecutive.
    assert (found.item.tolist(), found.size.tolist(), found.time.tolist()) == ([1, 2, 3], [3, 4, 2], [100, 225, 450])


def test_a_virtual_item_that_lost_its_vector_is_left_alone() -> None:
    clusters = entries([1, 77], [100, 200], size=[1, 1])  # 77 is in no table any more
    found = join(clusters, entries([1, 1], [400, 500]), LINE, CONFIG, b"u")
    assert dict(zip(found.item.tolist(), found.size.tolist(), strict=True)) == {1: 3, 77: 1}


@given(st.integers(0, 2**32 - 1), st.sampled_from(get_args(Clustering)))
@settings(max_examples=40, deadline=None)
def test_old_sizes_and_new_behaviours_are_the_new_sizes(seed: int, method: Clustering) -> None:
    rng = np.random.default_rng(seed)
    vectors = random_vectors(30)
    config = dataclasses.replace(CONFIG, clustering=method)
    life = random_life(rng, 150, 33, 10**6, vectors)
    cut = int(rng.integers(0, 151))
    clusters = cluster(life.slice(0, cut), vectors, config, b"u")
    found = join(clusters, life.slice(cut, 150), vectors, config, b"u")
    assert found.size.sum() == 150
    for group in np.unique(life.group):
        assert found.size[found.group == group].sum() == (life.group == group).sum()
    if method != "kmeans":
        assert found.size.max() <= config.max_cluster_size
    assert np.all(np.diff(found.time) >= 0)
    known = np.isfinite(life.cross["play_seconds"])
    mean = np.average(found.cross["play_seconds"], weights=found.size)
    assert mean == pytest.approx(life.cross["play_seconds"][known].mean(), rel=1e-4)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = random_vectors(60)
    life = random_life(np.random.default_rng(4), 400, 60, 10**6, vectors)
    clusters = cluster(life.slice(0, 300), vectors, CONFIG, b"u")
    whole = join(clusters, life.slice(300, 400), vectors, CONFIG, b"u")
    monkeypatch.setattr("pipelines.clustering.join._BLOCK_VALUES", 1)
    single = join(clusters, life.slice(300, 400), vectors, CONFIG, b"u")
    assert whole.item.tolist() == single.item.tolist()
    assert whole.size.tolist() == single.size.tolist()


def test_joined_clusters_are_alike_nearly_as_those_of_a_full_run() -> None:
    vectors = random_vectors(300)
    life = random_life(np.random.default_rng(5), 2000, 300, 10**6, vectors)
    config = dataclasses.replace(CONFIG, max_cluster_size=20)
    full = cluster(life, vectors, config, b"u")
    joined = join(cluster(life.slice(0, 1500), vectors, config, b"u"), life.slice(1500, 2000), vectors, config, b"u")
    assert len(joined) < 1.5 * len(full)


def test_concatenation_keeps_order() -> None:
    both = concatenate([CLUSTERS, entries([9], [1])])
    assert both.item.tolist() == [1, 2, 9]
    assert both.cross["liked"].tolist() == [7, 8, 0]
