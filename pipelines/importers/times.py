"""Reads the times of an events table, for the split borders."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

SAMPLE_LIMIT = 4_000_000


@dataclasses.dataclass(frozen=True)
class TimeSample:
    """Times of an events table.

    Attributes:
        sample_ms: All times, or every 2nd, 4th, ... and the last, int64 `[n]`.
        last_ms: The greatest of all times.
    """

    sample_ms: np.ndarray
    last_ms: int


def sample_times(files: Sequence[Path], column: str, limit: int = SAMPLE_LIMIT) -> TimeSample:
    """Reads one column of all files in bounded memory; unreadable values are passed over.

    Args:
        files: Parquet or CSV files.
        column: The timestamp column.
        limit: Above this many rows only every 2nd, 4th, ... is kept.
    """
    kept = np.empty(0, np.int64)
    stride = 1
    last = 0
    for block in _blocks(files, column):
        if len(block) == 0:
            continue
        last = max(last, int(block.max())) if len(kept) else int(block.max())
        kept = np.concatenate([kept, block[::stride]])
        while len(kept) > limit:
            kept = kept[::2]
            stride *= 2
    return TimeSample(np.append(kept, last) if stride > 1 else kept, last)


def _blocks(files: Sequence[Path], column: str) -> Iterator[np.ndarray]:
    for file in files:
        if file.suffix == ".parquet":
            for batch in pq.ParquetFile(file).iter_batches(columns=[column], batch_size=1_000_000):
                times = batch.column(0).drop_null()
                if pa.types.is_timestamp(times.type):
                    times = times.cast(pa.timestamp("ms", times.type.tz), safe=False).cast(pa.int64())
                yield times.to_numpy(zero_copy_only=False).astype(np.int64)
        else:
            options = pv.ConvertOptions(include_columns=[column], column_types={column: pa.string()})
            # What is malformed here is a dead letter of preprocessing.
            parse = pv.ParseOptions(invalid_row_handler=lambda _: "skip", newlines_in_values=True)
            for batch in pv.open_csv(file, parse_options=parse, convert_options=options):
                numbers = pd.to_numeric(batch.column(0).to_pandas(), errors="coerce").dropna()
                yield numbers.to_numpy().astype(np.int64)
