"""Projects a catalog with a servable's `project_items` signature: the Beam batch job behind every item table refresh.

The job knows the servable by its signature alone, so it runs on any runner with stock TensorFlow (section 3.4.2: the
projections of all items are recomputed by a job of its own).
"""

import dataclasses
import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from model.errors import UserError

SIGNATURE = "project_items"
ITEM_ID = "item_id"
PROJECTION = "projection"
STEP_ROWS = 8192
"""Items per call of the signature: the intermediate arrays of a call stay near the cache."""
_SHARD_ROWS = 1_000_000


class ProjectionError(UserError):
    """The projection job's input or output is wrong; the message says what and where."""


@dataclasses.dataclass(frozen=True)
class ItemBatch:
    """Some items of the catalog, as the signature takes them.

    Attributes:
        item_id: int64 [M].
        inputs: Raw inherent features: {f: [M]}, multi-hot {f: [M, W], f/length: int64 [M]}.
    """

    item_id: np.ndarray
    inputs: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Shard:
    """A written file: name, rows, hash and the largest absolute projection of every column, float32 [h * d_k]."""

    file: str
    rows: int
    sha256: str
    max_abs: np.ndarray


class ProjectItems(beam.PTransform):  # type: ignore[misc]
    """PCollection of `ItemBatch` -> Parquet shards in `out`; gives their `Shard` records.

    Args:
        servable: SavedModel directory, readable by every worker.
        out: Folder for the shards, writable by every worker; any Beam filesystem.
    """

    def __init__(self, servable: str, out: str) -> None:
        super().__init__()
        self._servable, self._out = servable, out

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return (
            batches
            | "Project" >> beam.ParDo(_Project(self._servable)).with_output_types(pa.RecordBatch)
            | "Write" >> beam.ParDo(_WriteShards(self._out)).with_output_types(Shard)
        )


def projector(servable: str) -> Callable[[np.ndarray, Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Loads a SavedModel and gives its `project_items` as a function of NumPy arrays.

    Returns:
        (item_id, inputs) -> outputs, all by their names in the signature.

    Raises:
        ProjectionError: If the servable has no such signature.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(servable)
    if SIGNATURE not in loaded.signatures:
        raise ProjectionError(f"{servable}: no signature {SIGNATURE!r}; it has {sorted(loaded.signatures)}")
    signature = loaded.signatures[SIGNATURE]
    # The function's parameters are the signature's names made into Python identifiers; the specs keep the names.
    parameters = {spec.name: (name, spec.dtype) for name, spec in signature.structured_input_signature[1].items()}

    def project(item_id: np.ndarray, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        named = {ITEM_ID: item_id, **inputs}
        tensors = {parameter: tf.constant(named[name], dtype) for name, (parameter, dtype) in parameters.items()}
        outputs = {name: value.numpy() for name, value in signature(**tensors).items()}
        # The variables must outlive the function made from them.
        assert loaded is not None
        return outputs

    return project


class _Project(beam.DoFn):  # type: ignore[misc]
    """`ItemBatch` -> RecordBatch of the shards' columns; loads the servable once per worker process."""

    def __init__(self, servable: str) -> None:
        self._servable = servable
        self._shared = Shared()

    def setup(self) -> None:
        self._project = self._shared.acquire(lambda: projector(self._servable), tag=self._servable)

    def process(self, batch: ItemBatch) -> Iterator[pa.RecordBatch]:
        if not len(batch.item_id):
            return
        outputs: dict[str, np.ndarray] = {}
        for start in range(0, len(batch.item_id), STEP_ROWS):
            part = slice(start, start + STEP_ROWS)
            step = self._project(batch.item_id[part], {name: values[part] for name, values in batch.inputs.items()})
            for name, values in step.items():
                if name not in outputs:
                    outputs[name] = np.empty((len(batch.item_id), *values.shape[1:]), values.dtype)
                outputs[name][part] = values
        _check_finite(outputs[PROJECTION], batch.item_id)
        columns = {ITEM_ID: pa.array(batch.item_id)} | {name: _to_arrow(values) for name, values in outputs.items()}
        yield pa.RecordBatch.from_pydict(columns)


def _check_finite(projection: np.ndarray, item_id: np.ndarray) -> None:
    bad = ~np.isfinite(projection).all(axis=1)
    if bad.any():
        raise ProjectionError(
            f"the model gives {bad.sum()} projections that are not finite, the first for item {item_id[bad.argmax()]}; "
            "its weights are damaged"
        )


def _to_arrow(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])


class _WriteShards(beam.DoFn):  # type: ignore[misc]
    """RecordBatches -> Parquet files of about a million rows; a retried bundle writes new names, unnamed by anyone."""

    def __init__(self, out: str) -> None:
        self._out = out

    def start_bundle(self) -> None:
        self._file: _ShardFile | None = None

    def process(self, batch: pa.RecordBatch) -> Iterator[Shard]:
        if self._file is None:
            self._file = _ShardFile(self._out, batch.schema)
        self._file.write(batch)
        if self._file.rows >= _SHARD_ROWS:
            yield self._file.close()
            self._file = None

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._file is not None:
            shard = self._file.close()
            yield WindowedValue(shard, GlobalWindow().max_timestamp(), (GlobalWindow(),))


class _ShardFile:
    """One Parquet file being written, hashed on the way."""

    def __init__(self, out: str, schema: pa.Schema) -> None:
        self._name = f"shard-{uuid.uuid4().hex}.parquet"
        path = FileSystems.join(out, self._name)
        self._sink = _HashingFile(FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED))
        # Projections have no two values alike: dictionaries and compression would only cost time.
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._sink, mode="w"),
            schema,
            compression="none",
            use_dictionary=False,
            write_statistics=False,
        )
        self._max_abs = np.zeros(schema.field(PROJECTION).type.list_size, np.float32)
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch, row_group_size=batch.num_rows)
        projection = matrix(batch.column(PROJECTION))
        np.maximum(self._max_abs, np.maximum(projection.max(axis=0), -projection.min(axis=0)), out=self._max_abs)
        self.rows += batch.num_rows

    def close(self) -> Shard:
        self._writer.close()
        self._sink.close()
        return Shard(self._name, self.rows, self._sink.hash.hexdigest(), self._max_abs)


class _HashingFile:
    """A writable file that knows the SHA-256 of what was written."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.hash = hashlib.sha256()
        self.closed = False

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self._file.write(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._file.close()


def matrix(column: pa.FixedSizeListArray) -> np.ndarray:
    """A fixed-size list column as array [M, W], without a copy."""
    return column.flatten().to_numpy().reshape(len(column), column.type.list_size)
