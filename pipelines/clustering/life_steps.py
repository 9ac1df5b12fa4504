"""Beam steps of the clustering of whole lives."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from model.config import TwinConfig
from model.schema import DatasetSchema
from pipelines.clustering.example_columns import ExampleColumns, history_of
from pipelines.clustering.job import COUNTS, size_counts
from pipelines.clustering.life_columns import LifeBatches
from pipelines.clustering.state import NOTHING_CLUSTERED, ClusteredLife, advance, decode_life, encode_life
from pipelines.clustering.vectors import load_vectors
from pipelines.preprocess.events import in_global_window
from pipelines.preprocess.spill import Segment, SpillWriter, read_by_user


class SpillStates(beam.DoFn):  # type: ignore[misc]
    """Serialized Examples -> (partition, `Segment`) of their histories' entries. Tagged output: `counts`.

    Args:
        schema: The declared columns.
        spill: Folder of the spill files.
        partitions: Number of partitions of the users.
        clustered: Whether the Examples are states of an earlier run, or histories of single behaviours.
    """

    def __init__(self, schema: DatasetSchema, spill: str, partitions: int, clustered: bool) -> None:
        self._schema, self._spill, self._clustered = schema, (spill, partitions), clustered
        self._batches = LifeBatches(schema)

    def start_bundle(self) -> None:
        """Small histories of a bundle share a spill file."""
        self._writer = SpillWriter(*self._spill)

    def process(self, record: bytes) -> Iterator[Any]:
        """Spills one user's history."""
        if self._clustered:
            user, life = decode_life(record, self._schema)
            yield TaggedOutput(COUNTS, ("read_earlier", int(life.history.size.sum())))
        else:
            example = ExampleColumns(record)
            user, life = example.user, ClusteredLife(history_of(example, self._schema), NOTHING_CLUSTERED)
            if np.any(life.history.size != 1):
                raise example.error("the history is clustered already; expected single behaviours")
            yield TaggedOutput(COUNTS, ("read_behaviours", len(life.history)))
        yield from self._writer.add(self._batches.batch(user, life))

    def finish_bundle(self) -> Iterator[Any]:
        """Writes what is pending."""
        yield from map(in_global_window, self._writer.flush())


class ClusterLives(beam.DoFn):  # type: ignore[misc]
    """Partitions of the users -> one serialized Example a user, see `state.encode_life`. Tagged output: `counts`.

    A user without any behaviour has no Example.

    Args:
        vectors: Folder of the item vectors.
        schema: The declared columns.
        config: How to cluster.
        spill: Folder of the spill files.
        from_events: Whether the lives were spilled by `ParseEvents`, or by `SpillStates`.
    """

    def __init__(self, vectors: str, schema: DatasetSchema, config: TwinConfig, spill: str, from_events: bool) -> None:
        self._folder, self._schema, self._config = vectors, schema, config
        self._spill, self._from_events = spill, from_events
        self._batches = LifeBatches(schema)

    def setup(self) -> None:
        """Maps the vectors."""
        self._vectors = load_vectors(self._folder)

    def process(self, grouped: tuple[int, dict[str, Iterable[Segment]]]) -> Iterator[Any]:
        """Clusters one partition's users."""
        segments = grouped[1]
        states = dict(read_by_user(self._spill, segments["earlier"], self._batches.state_schema))
        counts: Counter[str] = Counter(carried_over=0)
        schema = self._batches.event_schema if self._from_events else self._batches.state_schema
        for user, batch in read_by_user(self._spill, segments["lives"], schema):
            yield from self._record(user, batch, states.pop(user, None), counts)
        for user, state in states.items():
            counts["carried_over"] += 1
            yield from self._record(user, None, state, counts)
        for count in counts.items():
            yield TaggedOutput(COUNTS, count)

    def _record(
        self, user: bytes, batch: pa.RecordBatch | None, state: pa.RecordBatch | None, counts: Counter[str]
    ) -> Iterator[bytes]:
        earlier = None if state is None else self._batches.state(state)
        if batch is None:
            assert earlier is not None
            behaviours = earlier.history.slice(0, 0)
        elif self._from_events:
            behaviours = self._batches.behaviours(batch)
            counts["non_behaviours"] += len(batch) - len(behaviours)
        else:
            behaviours = self._batches.state(batch).history
        step = advance(earlier, behaviours, self._schema, self._config, self._vectors, user)
        counts.update(step.counts)
        if len(step.life.history):
            counts.update(size_counts(step.life.history.size[: step.life.clusters]))
            counts["examples"] += 1
            counts["singles"] += len(step.life.history) - step.life.clusters
            yield encode_life(user, step.life)
