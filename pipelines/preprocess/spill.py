"""The shuffle by user, through files: memory holds one buffer of rows while writing and one partition while reading.

Runners differ in where a shuffle keeps its data, and the local one keeps it in memory. So rows do not travel through
Beam: they are written to files cut by partition, a hash of the user, and Beam groups references to the parts.
"""

import itertools
import uuid
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.readers import RawTable

BUFFER_BYTES = 32 << 20
PARTITION_ROWS = 1 << 19
PARTITION_BYTES = 16 << 20
"""Of raw files. Compressed columns grow some three times in memory, CSV does not."""
USER, FILE, ROW = "#user", "#file", "#row"
"""Columns of every spilled batch: the user's id (binary), and the place in the raw data (int32, int64)."""

Segment = tuple[str, int, int]
"""Name of a spill file, and offset and length in bytes of one partition's rows in it."""


def partition_count(tables: Iterable[RawTable]) -> int:
    """Number of partitions with which an average one is small, whatever the size of the tables."""
    return 1 + max(max(table.parquet_rows // PARTITION_ROWS, table.bytes // PARTITION_BYTES) for table in tables)


class SpillWriter:
    """Writes batches of rows to spill files, their rows ordered by partition.

    A file is never written twice and counts only once its segments are given out: a bundle that fails and is tried
    again leaves a file that nobody reads.

    Args:
        folder: Where the files go; every worker must reach it.
        partitions: Number of partitions.
    """

    def __init__(self, folder: str, partitions: int) -> None:
        self._folder = folder
        self._partitions = partitions
        self._pending: list[pa.RecordBatch] = []
        self._bytes = 0

    def add(self, batch: pa.RecordBatch) -> Iterator[tuple[int, Segment]]:
        """Takes a batch with the column `USER`; gives (partition, segment) of what was written now."""
        if len(batch):
            self._pending.append(batch)
            self._bytes += batch.nbytes
        if self._bytes >= BUFFER_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[int, Segment]]:
        """Writes what is pending; gives (partition, segment) of it."""
        if not self._pending:
            return
        rows = _one_batch(self._pending)
        self._pending, self._bytes = [], 0
        partition = _partition_of(rows.column(USER), self._partitions)
        order = np.argsort(partition, kind="stable")
        cuts = np.searchsorted(partition[order], np.arange(self._partitions + 1)).tolist()
        rows = rows.take(pa.array(order))
        name, written, offset = uuid.uuid4().hex, [], 0
        with FileSystems.create(
            FileSystems.join(self._folder, name), compression_type=CompressionTypes.UNCOMPRESSED
        ) as file:
            for number, (first, last) in enumerate(itertools.pairwise(cuts)):
                if first == last:
                    continue
                part = rows.slice(first, last - first).serialize()
                file.write(memoryview(part))
                written.append((number, (name, offset, part.size)))
                offset += part.size
        yield from written


def read_by_user(folder: str, segments: Iterable[Segment], schema: pa.Schema) -> Iterator[tuple[bytes, pa.RecordBatch]]:
    """Reads one partition back: (user, the user's rows) in order of the users' ids, rows in any order.

    Args:
        folder: Where the spill files are.
        segments: All segments of the partition.
        schema: Their columns.
    """
    batches = []
    for name, offset, length in sorted(segments):
        with FileSystems.open(FileSystems.join(folder, name), compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.seek(offset)
            batches.append(pa.ipc.read_record_batch(pa.py_buffer(file.read(length)), schema))
    if not batches:
        return
    rows = _one_batch(batches)
    batches.clear()
    users = rows.column(USER).dictionary_encode()
    names = users.dictionary.to_pylist()
    by_name = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), np.int64)
    place[by_name] = np.arange(len(names))
    code = place[users.indices.to_numpy()]
    order = np.argsort(code, kind="stable")
    cuts = np.searchsorted(code[order], np.arange(len(names) + 1)).tolist()
    rows = rows.take(pa.array(order))
    for i, (first, last) in zip(by_name, itertools.pairwise(cuts), strict=True):
        yield names[i], rows.slice(first, last - first)


def _partition_of(users: pa.Array, partitions: int) -> npt.NDArray[np.int64]:
    """int64 [n]: the same for the same user in every process, which Python's own hash is not."""
    encoded = users.dictionary_encode()
    of_code = np.array([zlib.crc32(name) % partitions for name in encoded.dictionary.to_pylist()], np.int64)
    return of_code[encoded.indices.to_numpy()]


def _one_batch(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
