"""Event blocks: the compact, columnar form in which a user's events travel through the shuffle.

A block is a tuple of bytes: first the rows (fixed width: key, time, place in the raw data, flags, numbers, lengths of
the strings), then one blob per string column (its values end to end). Blocks of one user join by joining the bytes.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from model.schema import DatasetSchema, Feature

LABEL_BIT = 1
BEHAVIOUR_BIT = 2

Block = tuple[bytes, ...]
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


class BlockCodec:
    """Cuts events into blocks and puts them together again.

    Args:
        features: The features an event carries.
    """

    def __init__(self, features: tuple[Feature, ...]) -> None:
        self._features = features
        self._strings = tuple(f.name for f in features if f.dtype == "string")
        kinds = {"int64": "<i8", "float32": "<f4", "string": "<i4"}
        head = [("item", "<i8"), ("time", "<i8"), ("row", "<i8"), ("file", "<i4"), ("flags", "u1")]
        self._dtype = np.dtype(head + [(f"feature:{f.name}", kinds[f.dtype]) for f in features])

    def cut(self, events: Events, starts: npt.NDArray[np.int64]) -> Iterator[Block]:
        """Cuts events into blocks `[starts[i], starts[i + 1])`; the last start is the number of events."""
        rows = np.empty(len(events.item), self._dtype)
        rows["item"], rows["time"], rows["row"] = events.item, events.time, events.row
        rows["file"], rows["flags"] = events.file, events.flags
        blobs: list[tuple[npt.NDArray[np.int64], memoryview]] = []
        for feature in self._features:
            column = events.features[feature.name]
            if feature.dtype == "string":
                offsets, blob = _string_buffers(column)
                rows[f"feature:{feature.name}"] = np.diff(offsets)
                blobs.append((offsets[starts], blob))
            else:
                rows[f"feature:{feature.name}"] = column
        for i in range(len(starts) - 1):
            cells = tuple(bytes(blob[at[i] : at[i + 1]]) for at, blob in blobs)
            yield (rows[starts[i] : starts[i + 1]].tobytes(), *cells)

    def join(self, blocks: Iterable[Block]) -> Events:
        """Puts blocks together, in the order given."""
        parts = [b"".join(cells) for cells in zip(*blocks, strict=True)] or [b""] * (1 + len(self._strings))
        rows = np.frombuffer(parts[0], self._dtype)
        blobs = dict(zip(self._strings, parts[1:], strict=True))
        features: dict[str, Column] = {}
        for feature in self._features:
            column = np.ascontiguousarray(rows[f"feature:{feature.name}"])
            features[feature.name] = _strings(column, blobs[feature.name]) if feature.name in blobs else column
        head = {name: np.ascontiguousarray(rows[name]) for name in ("item", "time", "file", "row", "flags")}
        return Events(**head, features=features)


def _string_buffers(column: pa.Array) -> tuple[npt.NDArray[np.int64], memoryview]:
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    return offsets.astype(np.int64), memoryview(column.buffers()[2] or b"")


def _strings(lengths: npt.NDArray[np.int32], blob: bytes) -> pa.Array:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(blob)]
    return pa.Array.from_buffers(pa.large_binary(), len(lengths), buffers)
