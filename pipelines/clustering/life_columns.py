"""Entries of users' histories as Arrow batches, to be spilled by partition of the users."""

import numpy as np
import pyarrow as pa

from model.schema import DatasetSchema
from pipelines.clustering.entries import Entries
from pipelines.clustering.state import ClusteredLife
from pipelines.preprocess.event_columns import ARROW_TYPES, BEHAVIOUR_BIT, EventBatches, event_features
from pipelines.preprocess.spill import USER

_THROUGH = "through"


class LifeBatches:
    """Turns states into Arrow batches and back, and spilled events into behaviours.

    Args:
        schema: Names the cross features.
    """

    def __init__(self, schema: DatasetSchema) -> None:
        self._cross = schema.cross
        self._events = EventBatches(event_features(schema))
        head = [(USER, pa.binary()), *((name, pa.int64()) for name in ("item", "time", "size", "group", _THROUGH))]
        self.state_schema = pa.schema(head + [(f"feature:{f.name}", ARROW_TYPES[f.dtype]) for f in schema.cross])
        self.event_schema = self._events.schema

    def batch(self, user: bytes, life: ClusteredLife) -> pa.RecordBatch:
        """A user's state, one row an entry; a state without entries has no row."""
        entries = life.history
        columns = [pa.array([user], pa.binary()).take(pa.array(np.zeros(len(entries), np.int64)))]
        columns += map(pa.array, (entries.item, entries.time, entries.size, entries.group))
        columns.append(pa.array(np.full(len(entries), life.through_ms)))
        for feature in self._cross:
            column = entries.cross[feature.name]
            columns.append(column.cast(pa.large_binary()) if feature.dtype == "string" else pa.array(column))
        return pa.RecordBatch.from_arrays(columns, schema=self.state_schema)

    def state(self, batch: pa.RecordBatch) -> ClusteredLife:
        """A user's state of a batch whose rows may be in any order."""
        item, time, size, group, through = (
            batch.column(name).to_numpy() for name in ("item", "time", "size", "group", _THROUGH)
        )
        cross = {
            f.name: batch.column(f"feature:{f.name}")
            if f.dtype == "string"
            else batch.column(f"feature:{f.name}").to_numpy()
            for f in self._cross
        }
        entries = Entries(item, time, size, group, cross)
        return ClusteredLife(entries.take(np.argsort(time, kind="stable")), int(through.max()))

    def behaviours(self, batch: pa.RecordBatch) -> Entries:
        """The behaviours among spilled events, single and without groups."""
        events = self._events.events(batch)
        events = events.take(np.flatnonzero(events.flags & BEHAVIOUR_BIT))
        cross = {feature.name: events.features[feature.name] for feature in self._cross}
        number = len(events.item)
        return Entries(events.item, events.time, np.ones(number, np.int64), np.zeros(number, np.int64), cross)
