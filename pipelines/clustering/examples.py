"""A user's training Example -> Examples with clustered histories."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from model.config import TwinConfig
from model.schema import DatasetSchema
from pipelines.clustering.entries import Entries, Ints, concatenate
from pipelines.clustering.example_columns import ExampleColumns, history_features, history_of
from pipelines.clustering.groups import groups_of
from pipelines.clustering.join import join
from pipelines.clustering.life import cluster, clusterable
from pipelines.clustering.vectors import ItemVectors
from pipelines.examples import Values, encode_example

_TARGET = "target/"
_HISTORY_END = "target/history_end"


@dataclasses.dataclass(frozen=True)
class ClusteredExample:
    """One Example and its counts.

    Attributes:
        record: The serialized Example.
        history: Its history: `clusters` virtual items, then single behaviours.
        clusters: Entries that were clustered.
        behaviours: The behaviours that its history covers, after the input.
        targets: Its targets.
    """

    record: bytes
    history: Entries
    clusters: int
    behaviours: int
    targets: int


def clustered_examples(
    record: bytes, schema: DatasetSchema, config: TwinConfig, vectors: ItemVectors
) -> Iterator[ClusteredExample]:
    """Clusters a user's history as of the first target; after `recluster_after` more behaviours a next Example begins.

    The clusters of an Example hold behaviours visible to its first target alone, without the newest
    `short_term_length`. Those of the next Example are these, joined by the behaviours since, or all clustered anew when
    these have become as many as were clustered before. Every target is in exactly one Example.

    Args:
        record: A per-user Example.
        schema: The data set's columns.
        config: How to cluster.
        vectors: The known items.

    Raises:
        ExampleError: A feature has the wrong type or length, or times or history ends are out of order.
    """
    example = ExampleColumns(record)
    life = history_of(example, schema)
    life = dataclasses.replace(life, group=groups_of(life, schema, config, vectors))
    targets = len(example.values("target/item_id", "int64"))
    end = example.values(_HISTORY_END, "int64", targets)
    if np.any(life.time[1:] < life.time[:-1]) or np.any(np.diff(end, prepend=0, append=len(life)) < 0):
        raise example.error(
            f"expected history/timestamp to ascend, and {_HISTORY_END} within the {len(life)} behaviours"
        )
    kept, per_target = _other_features(example, schema, targets)
    clusters = life.take(np.zeros(0, np.int64))
    done = built = 0
    for first, last in example_ranges(end, config.recluster_after):
        through = clusterable(life.time[: int(end[first])], config.short_term_length)
        if through >= 2 * built:
            clusters, built = cluster(life.slice(0, through), vectors, config, example.user), through
        else:
            clusters = join(clusters, life.slice(done, through), vectors, config, example.user)
        done = through
        history = concatenate([clusters, life.slice(done, int(end[last - 1]))])
        features = dict(kept) | dict(history_features(history))
        features |= {name: values[first:last] for name, values in per_target.items()}
        features[_HISTORY_END] = len(clusters) + end[first:last] - done
        yield ClusteredExample(encode_example(features), history, len(clusters), int(end[last - 1]), last - first)


def example_ranges(end: Ints, most: int) -> Iterator[tuple[int, int]]:
    """Ranges [first, last) of targets: one ends before the target that sees over `most` behaviours more than its first.

    Args:
        end: int64 [T], behaviours that each target sees, ascending.
        most: `recluster_after`.
    """
    first = 0
    while first < len(end):
        last = int(np.searchsorted(end, end[first] + most, side="right"))
        yield first, last
        first = last


def _other_features(
    example: ExampleColumns, schema: DatasetSchema, targets: int
) -> tuple[dict[str, Values], dict[str, Values]]:
    """What all Examples of the user share, and what belongs to single targets."""
    features = example.unparsed()
    kept = {n: v for n, v in features.items() if not n.startswith((_TARGET, "history/"))}
    names = {"item_id": "int64", "timestamp": "int64", "label": "float32"}
    names |= {feature.name: feature.dtype for feature in schema.context}
    return kept, {_TARGET + n: example.values(_TARGET + n, dtype, targets) for n, dtype in names.items()}
