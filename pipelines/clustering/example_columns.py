"""tf.Examples of histories -> columns, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from model.errors import UserError
from model.schema import DatasetSchema
from pipelines.clustering.entries import Entries
from pipelines.examples import Values
from pipelines.preprocess.event_columns import ARROW_TYPES

SIZE, GROUP, THROUGH = "history/cluster_size", "history/cluster_group", "clustered_through_ms"


class ExampleError(UserError):
    """A tf.Example is not laid out as it must be; the message names the user and the feature."""


class ExampleColumns:
    """The features of one tf.Example.

    Args:
        record: The serialized Example.

    Raises:
        ExampleError: It is none, or has no `user_id`.
    """

    user = b""

    def __init__(self, record: bytes) -> None:
        try:
            batch = ExamplesToRecordBatchDecoder().DecodeBatch([record])
        except RuntimeError as error:
            raise ExampleError(f"a record is no tf.Example: expected per-user Examples, got {record[:40]!r}") from error
        self._lists = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
        self.user = self.values("user_id", "string", 1)[0].as_py()

    def error(self, message: str) -> ExampleError:
        """An error that names the user."""
        return ExampleError(f"user {self.user.decode('utf-8', 'replace')!r}: {message}")

    def values(self, name: str, dtype: str, length: int | None = None) -> Values:
        """The values of a feature, none where it is absent: int64 or float32 [n], or a large binary Arrow array.

        Args:
            name: The feature.
            dtype: `int64`, `string` or `float32`.
            length: How many there must be.

        Raises:
            ExampleError: The feature has another type or length.
        """
        expected = ARROW_TYPES[dtype]
        column = self._lists.get(name)
        flat = pa.array([], expected) if column is None or pa.types.is_null(column.type) else column.flatten()
        if flat.type != expected:
            raise self.error(f"feature {name!r}: expected {dtype}, got {flat.type}")
        if length is not None and len(flat) != length:
            raise self.error(f"feature {name!r}: expected {length} values, got {len(flat)}")
        return flat if dtype == "string" else flat.to_numpy()

    def unparsed(self) -> dict[str, pa.Array]:
        """All features that have values, by name."""
        return {name: column.flatten() for name, column in self._lists.items() if not pa.types.is_null(column.type)}


def history_of(example: ExampleColumns, schema: DatasetSchema) -> Entries:
    """The history of an Example; without cluster sizes each entry is one behaviour, without groups all are in 0.

    Raises:
        ExampleError: A feature has the wrong type or length.
    """
    item = example.values("history/item_id", "int64")
    columns: dict[str, Any] = {"time": example.values("history/timestamp", "int64", len(item))}
    for name, feature, default in (("size", SIZE, 1), ("group", GROUP, 0)):
        given = len(example.values(feature, "int64")) > 0
        columns[name] = example.values(feature, "int64", len(item)) if given else np.full(len(item), default, np.int64)
    cross = {f.name: example.values(f"history/{f.name}", f.dtype, len(item)) for f in schema.cross}
    return Entries(item, cross=cross, **columns)


def history_features(history: Entries) -> Mapping[str, Values]:
    """The features of a history; those of `contracts` section 8 but the state for later runs."""
    features = {"history/item_id": history.item, "history/timestamp": history.time, SIZE: history.size}
    return features | {f"history/{name}": column for name, column in history.cross.items()}
