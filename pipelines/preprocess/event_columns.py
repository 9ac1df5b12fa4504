"""Events in columns: as NumPy and Arrow columns where they are worked on, as one Arrow batch where they are spilled."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from model.feature import Feature
from model.schema import DatasetSchema
from pipelines.preprocess.spill import FILE, ROW, USER

LABEL_BIT = 1
BEHAVIOUR_BIT = 2
ARROW_TYPES = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.large_binary()}
"""A feature's dtype -> the Arrow type of its column. Large: a user's strings may pass 2 GB."""

Column = Any
"""float32 or int64 [n], or a binary Arrow array of n values."""


def event_features(schema: DatasetSchema) -> tuple[Feature, ...]:
    """The features an event carries beside its ids, time and label."""
    return (*schema.cross, *schema.context)


@dataclasses.dataclass(frozen=True)
class Events:
    """n events in columns.

    Attributes:
        item: int64 [n], item keys.
        time: int64 [n], ms.
        file: int32 [n], index of the raw file.
        row: int64 [n], number of the row in it.
        flags: uint8 [n], `LABEL_BIT` and `BEHAVIOUR_BIT`.
        features: The cross and context columns by name.
    """

    item: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    file: npt.NDArray[np.int32]
    row: npt.NDArray[np.int64]
    flags: npt.NDArray[np.uint8]
    features: dict[str, Column]

    def take(self, index: npt.NDArray[np.int64]) -> "Events":
        """The events at `index`, in its order."""
        features = {name: take(column, index) for name, column in self.features.items()}
        parts = (self.item[index], self.time[index], self.file[index], self.row[index], self.flags[index])
        return Events(*parts, features)


def take(column: Column, index: npt.NDArray[np.generic]) -> Column:
    """The values at `index`, an int64 or bool array; works on NumPy and Arrow columns alike."""
    if isinstance(column, pa.Array):
        array = pa.array(index)
        return column.filter(array) if index.dtype == bool else column.take(array)
    return column[index]


class EventBatches:
    """Turns events into Arrow batches and back.

    Args:
        features: The features an event carries.
    """

    def __init__(self, features: tuple[Feature, ...]) -> None:
        self._features = features
        head = [(USER, pa.binary()), (FILE, pa.int32()), (ROW, pa.int64())]
        head += [("item", pa.int64()), ("time", pa.int64()), ("flags", pa.uint8())]
        self.schema = pa.schema(head + [(f"feature:{f.name}", ARROW_TYPES[f.dtype]) for f in features])

    def batch(self, users: pa.Array, events: Events) -> pa.RecordBatch:
        """All n events and their users' ids, binary [n], as one batch."""
        columns = [users, *map(pa.array, (events.file, events.row, events.item, events.time, events.flags))]
        for feature in self._features:
            column = events.features[feature.name]
            columns.append(column.cast(pa.large_binary()) if feature.dtype == "string" else pa.array(column))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def events(self, batch: pa.RecordBatch) -> Events:
        """The events of a batch, sharing its memory."""
        features: dict[str, Column] = {}
        for feature in self._features:
            column = batch.column(f"feature:{feature.name}")
            features[feature.name] = column if feature.dtype == "string" else column.to_numpy()
        item, time, file, row, flags = (batch.column(name).to_numpy() for name in ("item", "time", FILE, ROW, "flags"))
        return Events(item, time, file, row, flags, features)
