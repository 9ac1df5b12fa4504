"""Reads raw tables, Parquet or CSV, from any Beam filesystem, in columnar chunks of bounded size.

A table is `<data>/<table>/*.parquet|csv` or the single file `<data>/<table>.parquet|csv`. Missing files, missing
columns and columns of the wrong type are found before a job starts; what is wrong with single rows is left to the job.
"""

import codecs
import csv
import dataclasses
import io
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

from model.errors import UserError
from model.feature import Feature, Table
from model.schema import DatasetSchema
from pipelines.column_types import expected_type, fits
from pipelines.open_quotes import find_long_row, row_text, spread, swallowing_cells

CHUNK_ROWS = 262_144
_CSV_BLOCK_BYTES = 16 << 20
_HEADER_BYTES = 1 << 20
_SUFFIXES = (".parquet", ".csv")


class RawDataError(UserError):
    """A raw table cannot be read; the message names the file and, where it applies, the column."""


@dataclasses.dataclass(frozen=True)
class Span:
    """A part of one file that one worker reads: a row group of a Parquet file, or a whole CSV file.

    Attributes:
        file: Path of the file.
        file_index: Its place among the table's files in name order.
        row_group: The Parquet row group, None for CSV.
        first_row: Number of its first data row in the file, from 1.
        columns: The declared columns.
    """

    file: str
    file_index: int
    row_group: int | None
    first_row: int
    columns: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class RawTable:
    """The files of one raw table.

    Attributes:
        name: `events`, `items` or `users`.
        files: Their paths, in name order.
        empty_files: Those known to hold no row.
        spans: What there is to read.
        parquet_rows: Rows of the Parquet files after their footers.
        bytes: Size of all files.
    """

    name: Table
    files: tuple[str, ...]
    empty_files: tuple[str, ...]
    spans: tuple[Span, ...]
    parquet_rows: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Some rows of a file.

    Attributes:
        rows: int64 [n], number of each row in its file, from 1.
        columns: The declared columns; those of a CSV file are binary, unparsed.
        malformed: Rows met on the way that could not be cut into fields, number and text; each line that an open quote
            swallowed is one.
    """

    rows: npt.NDArray[np.int64]
    columns: pa.RecordBatch
    malformed: tuple[tuple[int, str], ...] = ()


def open_table(data: str, name: Table, schema: DatasetSchema) -> RawTable:
    """Finds the files of a table and checks their columns.

    Args:
        data: Folder of the raw tables, on any Beam filesystem.
        name: Which table.
        schema: Its declared columns.

    Raises:
        RawDataError: No file, an unreadable file, a missing column, or a column of the wrong type.
    """
    features = schema.columns(name)
    columns = tuple(f.name for f in features)
    found = find_files(data, name)
    spans: list[Span] = []
    empty: list[str] = []
    parquet_rows = 0
    for index, meta in enumerate(found):
        if meta.size_in_bytes == 0:
            empty.append(meta.path)
        elif meta.path.endswith(".csv"):
            header = csv_header(meta.path)
            if header:
                _check_present(meta.path, name, features, header)
                spans.append(Span(meta.path, index, None, 1, columns))
            else:
                empty.append(meta.path)
        else:
            groups = _parquet_row_groups(meta.path, name, features)
            starts = np.cumsum([1, *groups])[:-1].tolist()
            spans += [Span(meta.path, index, g, s, columns) for g, s in enumerate(starts) if groups[g]]
            parquet_rows += sum(groups)
            if not sum(groups):
                empty.append(meta.path)
    files = tuple(meta.path for meta in found)
    return RawTable(name, files, tuple(empty), tuple(spans), parquet_rows, sum(meta.size_in_bytes for meta in found))


def find_files(data: str, name: Table) -> list[FileMetadata]:
    """The Parquet and CSV files of a table, in name order; hidden ones (`_` or `.` in front) do not count.

    Raises:
        RawDataError: There is none, or both a folder and a single file.
    """
    single = [FileSystems.join(data, name + suffix) for suffix in _SUFFIXES]
    folder = [FileSystems.join(data, name, "*" + suffix) for suffix in _SUFFIXES]
    matches = FileSystems.match([*single, *folder])
    found = [meta for match in matches for meta in match.metadata_list if _visible(meta.path)]
    if not found:
        raise RawDataError(
            f"no {name} table in {data}: expected {name}/*.parquet, {name}/*.csv, {name}.parquet or {name}.csv"
        )
    if any(match.metadata_list for match in matches[:2]) and len(found) > 1:
        raise RawDataError(
            f"{data}: more than one {name} table: {sorted(m.path for m in found)[:3]}; keep either the folder "
            f"{name}/ or one file {name}.parquet or {name}.csv"
        )
    return sorted(found, key=lambda meta: str(meta.path))


def read_chunks(span: Span, chunk_rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """Reads a span in chunks of at most `chunk_rows` rows (CSV: some 16 MB of text)."""
    if span.row_group is None:
        yield from _read_csv(span)
        return
    row = span.first_row
    with _open(span.file) as handle:
        reader = pq.ParquetFile(handle)
        try:
            for batch in reader.iter_batches(chunk_rows, row_groups=[span.row_group], columns=list(span.columns)):
                yield Chunk(np.arange(row, row + len(batch)), batch)
                row += len(batch)
        except (pa.ArrowInvalid, OSError) as error:
            raise RawDataError(f"{span.file}: row group {span.row_group} is damaged: {_one_line(error)}") from error


def csv_header(path: str) -> list[str]:
    """The column names of a CSV file on any Beam filesystem; none if it is empty.

    Raises:
        RawDataError: The file cannot be read, or its header is not UTF-8.
    """
    try:
        with _open(path) as handle:
            block = handle.read(_HEADER_BYTES).removeprefix(codecs.BOM_UTF8)
        # Latin-1 maps every byte to one character and back; the rows below the header are no matter here.
        rows = csv.reader(io.StringIO(block.decode("latin-1"), newline=""))
        names = next((row for row in rows if row), [])
    except (csv.Error, OSError) as error:
        raise RawDataError(f"{path}: no readable CSV: {_one_line(error)}") from error
    try:
        return [name.encode("latin-1").decode() for name in names]
    except UnicodeDecodeError as error:
        raise RawDataError(
            f"{path}: the header is not UTF-8: column name {error.object!r}; save the file as UTF-8"
        ) from error


def _read_csv(span: Span) -> Iterator[Chunk]:
    # The reader parses ahead in its own thread, so malformed rows of a later block may already be known.
    lock = threading.Lock()
    pending: list[tuple[int, str]] = []

    def skip(row: pa_csv.InvalidRow) -> str:
        with lock:
            pending.append((row.number - 1, row.text))
        return "skip"

    # All columns, as an open quote may swallow rows in any.
    names = csv_header(span.file)
    convert = pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False)
    read = pa_csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK_BYTES)
    parse = pa_csv.ParseOptions(invalid_row_handler=skip, newlines_in_values=True)
    row, swallowed = span.first_row, 0
    try:
        with _open(span.file) as handle, pa_csv.open_csv(handle, read, parse, convert) as reader:
            for batch in reader:
                with lock:
                    rows, malformed = _number_rows(row, len(batch), pending)
                row += len(rows) + len(malformed)
                bad = swallowing_cells(batch)
                found = [(int(rows[i]), row_text(batch, i)) for i in np.flatnonzero(bad).tolist()]
                malformed = tuple(sorted([*malformed, *found]))
                rows, malformed, swallowed = spread(rows[~bad], malformed, len(names), swallowed)
                declared = [batch.column(batch.schema.get_field_index(name)) for name in span.columns]
                kept = pa.RecordBatch.from_arrays(declared, list(span.columns))
                yield Chunk(rows, kept.filter(pa.array(~bad)) if found else kept, malformed)
    except pa.ArrowInvalid as error:
        raise RawDataError(f"{span.file}: {_why_no_csv(span.file, error)}") from error
    if pending:
        nothing = pa.RecordBatch.from_arrays([pa.array([], pa.binary())] * len(span.columns), list(span.columns))
        rows, malformed, _ = spread(np.zeros(0, np.int64), tuple(sorted(pending)), len(names), swallowed)
        yield Chunk(rows, nothing, malformed)


def _why_no_csv(path: str, error: Exception) -> str:
    if "straddl" in str(error):
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as lines:
            line = find_long_row(lines, _CSV_BLOCK_BYTES)
        if line:
            return (
                f"line {line}: a row of more than {_CSV_BLOCK_BYTES:,} bytes begins; most likely a quote opened there "
                "is never closed; close it, or double it where it is text"
            )
    return f"no readable CSV: {_one_line(error)}"


def _number_rows(
    row: int, count: int, pending: list[tuple[int, str]]
) -> tuple[npt.NDArray[np.int64], tuple[tuple[int, str], ...]]:
    """Numbers the next `count` good rows around the malformed ones; takes those passed out of `pending`."""
    pending.sort()
    end = row + count
    taken = 0
    while taken < len(pending) and pending[taken][0] < end:
        taken += 1
        end += 1
    malformed = tuple(pending[:taken])
    del pending[:taken]
    rows = np.setdiff1d(np.arange(row, end), np.array([number for number, _ in malformed], np.int64))
    return rows, malformed


def _one_line(error: Exception) -> str:
    # Beam carries a worker's error as text; one line of it is found again.
    return " ".join(str(error).split())


def _visible(path: str) -> bool:
    return FileSystems.split(path)[1][:1] not in ("_", ".")


def _open(path: str) -> Any:
    if FileSystems.get_scheme(path) is None:
        # Arrow's own file: its read-ahead thread may outlive the reader, and must not call Python at exit.
        return pa.OSFile(path)
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def _parquet_row_groups(path: str, table: Table, features: tuple[Feature, ...]) -> list[int]:
    try:
        with _open(path) as handle:
            reader = pq.ParquetFile(handle)
            schema, meta = reader.schema_arrow, reader.metadata
    except (pa.ArrowInvalid, OSError) as error:
        raise RawDataError(f"{path}: no readable Parquet file: {_one_line(error)}") from error
    _check_present(path, table, features, schema.names)
    for feature in features:
        found = schema.field(feature.name).type
        if not fits(found, feature):
            raise RawDataError(
                f"{path}: column {feature.name!r} has type {found}, expected {expected_type(feature)} "
                f"as declared in the schema's {table}.pbtxt"
            )
    return [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]


def _check_present(path: str, table: Table, features: tuple[Feature, ...], names: list[str]) -> None:
    for feature in features:
        if names.count(feature.name) != 1:
            fault = "is missing" if feature.name not in names else "occurs more than once"
            raise RawDataError(
                f"{path}: column {feature.name!r} ({feature.role.value}, declared in the schema's {table}.pbtxt) "
                f"{fault}; the file has {names}"
            )
