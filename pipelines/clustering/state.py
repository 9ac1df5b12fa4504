"""A user's clustered history and how far it goes; a later run goes on from it."""

import dataclasses

import numpy as np
import pyarrow as pa

from model.config import TwinConfig
from model.schema import DatasetSchema
from pipelines.clustering.entries import Entries, concatenate
from pipelines.clustering.example_columns import (
    GROUP,
    SIZE,
    THROUGH,
    ExampleColumns,
    history_features,
    history_of,
)
from pipelines.clustering.groups import groups_of
from pipelines.clustering.join import join
from pipelines.clustering.life import cluster, clusterable
from pipelines.clustering.vectors import ItemVectors
from pipelines.examples import encode_example

NOTHING_CLUSTERED = np.iinfo(np.int64).min


@dataclasses.dataclass(frozen=True)
class ClusteredLife:
    """A user's clustered history.

    Attributes:
        history: Virtual items in order of mean time, then single behaviours in order of time.
        through_ms: Behaviours up to this time are in the clusters, later ones single; `NOTHING_CLUSTERED` if none is.
    """

    history: Entries
    through_ms: int

    @property
    def clusters(self) -> int:
        """Number of clusters, the first entries."""
        return int(np.searchsorted(self.history.time, self.through_ms, side="right"))


@dataclasses.dataclass(frozen=True)
class Step:
    """What one run made of a user.

    Attributes:
        life: The new state.
        counts: `behaviours` = `duplicates` + `already_clustered` + `already_single` + `new`, what was read; and
            `earlier`, those in the state before; `new + earlier` is the sum of the new sizes.
    """

    life: ClusteredLife
    counts: dict[str, int]


def advance(
    earlier: ClusteredLife | None,
    behaviours: Entries,
    schema: DatasetSchema,
    config: TwinConfig,
    vectors: ItemVectors,
    user: bytes,
) -> Step:
    """Clusters a life, or goes on from an earlier state: new behaviours join its clusters.

    Behaviours may be those since the last run or the whole life: what the state holds already is not taken again.
    One that arrives late, with a time that has been clustered, counts as `already_clustered` and is missing until a run
    without an earlier state.

    Args:
        earlier: The state to go on from; None = cluster all.
        behaviours: Single ones in any order.
        schema: Names `completion` and `duration`.
        config: How to cluster; `short_term_length` behaviours stay single.
        vectors: The known items.
        user: The user's id.
    """
    counts = {"behaviours": len(behaviours)}
    behaviours = behaviours.take(np.lexsort((behaviours.item, behaviours.time)))
    unique = np.ones(len(behaviours), bool)
    unique[1:] = (np.diff(behaviours.time) != 0) | (np.diff(behaviours.item) != 0)
    fresh = behaviours.take(unique)
    counts["duplicates"] = len(behaviours) - len(fresh)
    if earlier is None:
        earlier = ClusteredLife(behaviours.take(np.zeros(0, np.int64)), NOTHING_CLUSTERED)
    clusters = earlier.history.slice(0, earlier.clusters)
    singles = earlier.history.slice(earlier.clusters, len(earlier.history))
    later = fresh.time > earlier.through_ms
    known = np.isin(_keys(fresh), _keys(singles)) & later
    new = fresh.take(later & ~known)
    counts |= {"already_clustered": int((~later).sum()), "already_single": int(known.sum()), "new": len(new)}
    counts["earlier"] = int(earlier.history.size.sum())
    pool = concatenate([singles, new])
    pool = pool.take(np.lexsort((pool.item, pool.time)))
    pool = dataclasses.replace(pool, group=groups_of(pool, schema, config, vectors))
    end = clusterable(pool.time, config.short_term_length)
    if len(clusters):
        clusters = join(clusters, pool.slice(0, end), vectors, config, user)
    else:
        clusters = cluster(pool.slice(0, end), vectors, config, user)
    through = int(pool.time[end - 1]) if end else earlier.through_ms
    return Step(ClusteredLife(concatenate([clusters, pool.slice(end, len(pool))]), through), counts)


def encode_life(user: bytes, life: ClusteredLife) -> bytes:
    """The state as a tf.Example: what a request needs of the history, and what a later run does."""
    state = {GROUP: life.history.group, THROUGH: np.array([life.through_ms])}
    return encode_example({"user_id": pa.array([user], pa.binary())} | dict(history_features(life.history)) | state)


def decode_life(record: bytes, schema: DatasetSchema) -> tuple[bytes, ClusteredLife]:
    """Reads what `encode_life` wrote.

    Raises:
        ExampleError: The Example has no state, or another layout.
    """
    example = ExampleColumns(record)
    history = history_of(example, schema)
    for name in (SIZE, GROUP):
        example.values(name, "int64", len(history))
    through = example.values(THROUGH, "int64", 1)
    if np.any(history.time[1:] < history.time[:-1]) or np.any(history.size < 1):
        raise example.error("expected ascending times and sizes of 1 or more")
    return example.user, ClusteredLife(history, int(through[0]))


def _keys(entries: Entries) -> np.ndarray:
    keys = np.empty(len(entries), [("time", np.int64), ("item", np.int64)])
    keys["time"], keys["item"] = entries.time, entries.item
    return keys
