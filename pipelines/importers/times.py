"""Reads the times of an events table, for the split borders."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipelines.preprocess.parsing import parse_time
from pipelines.readers import Span, read_chunks

SAMPLE_LIMIT = 4_000_000
_NO_LIMIT_MS = 1 << 62


@dataclasses.dataclass(frozen=True)
class TimeSample:
    """Times of an events table.

    Attributes:
        sample_ms: All times, or every 2nd, 4th, ... and the last, int64 `[n]`.
        last_ms: The greatest of these times.
        future: Number of times at or after the moment asked for; not among the others.
        first_future_ms: The least of them, 0 if there is none.
    """

    sample_ms: np.ndarray
    last_ms: int
    future: int = 0
    first_future_ms: int = 0


def sample_times(
    files: Sequence[Path], column: str, limit: int = SAMPLE_LIMIT, before_ms: int = _NO_LIMIT_MS
) -> TimeSample:
    """Reads one column of all files in bounded memory; unreadable values are passed over.

    Args:
        files: Parquet or CSV files.
        column: The timestamp column.
        limit: Above this many rows only every 2nd, 4th, ... is kept.
        before_ms: Times at or after it are counted, but not kept.
    """
    kept = np.empty(0, np.int64)
    stride = 1
    last = future = first_future = 0
    for times in _blocks(files, column):
        block, late = times[times < before_ms], times[times >= before_ms]
        if len(late):
            first_future = min(first_future, int(late.min())) if future else int(late.min())
            future += len(late)
        if len(block) == 0:
            continue
        last = max(last, int(block.max())) if len(kept) else int(block.max())
        kept = np.concatenate([kept, block[::stride]])
        while len(kept) > limit:
            kept = kept[::2]
            stride *= 2
    return TimeSample(np.append(kept, last) if stride > 1 else kept, last, future, first_future)


def _blocks(files: Sequence[Path], column: str) -> Iterator[np.ndarray]:
    for file in files:
        if file.suffix == ".parquet":
            raw = (batch.column(0) for batch in pq.ParquetFile(file).iter_batches(1_000_000, columns=[column]))
        else:
            # What is malformed here is a dead letter of preprocessing.
            raw = (chunk.columns[column] for chunk in read_chunks(Span(str(file), 0, None, 1, (column,))))
        for part in raw:
            times, bad = parse_time(part)
            yield times[~bad]
