"""Streams a CSV file block by block, with typed columns and errors that name file, row and column."""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pv

from pipelines.importers.errors import DataImportError
from pipelines.readers import csv_header

BLOCK_BYTES = 32 << 20
_CONVERSION_ERROR = re.compile(r"In CSV column #(\d+): .*(?:invalid value '(.*)'|invalid UTF8 data)", re.DOTALL)


def stream_csv(file: Path, types: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    """Yields the named columns of a CSV file, a block of rows at a time.

    Args:
        file: The file, with a header line.
        types: Type of each column wanted; empty cells become nulls.

    Raises:
        RawDataError: If the header is not UTF-8.
        DataImportError: If the file is empty, a column is missing or a cell does not convert.
    """
    names = csv_header(str(file))
    if not names:
        raise DataImportError(f"{file}: is empty; expected a CSV file with a header line")
    for name in types:
        if name not in names:
            raise DataImportError(f"{file}: column {name!r} is missing; the file has {', '.join(names)}")
    convert = pv.ConvertOptions(column_types=dict(types), include_columns=list(types), strings_can_be_null=True)
    try:
        for batch in pv.open_csv(file, pv.ReadOptions(block_size=BLOCK_BYTES), convert_options=convert):
            yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        raise DataImportError(_explain(file, names, types, str(error))) from None


def _explain(file: Path, names: list[str], types: Mapping[str, pa.DataType], error: str) -> str:
    """Adds row and column, which the streaming reader does not know."""
    match = _CONVERSION_ERROR.search(error)
    if match is None:
        return f"{file}: {error}"
    column, value = names[int(match[1])], match[2]
    expected = "UTF-8 text" if value is None else str(types[column])
    for row, cell in _cells(file, names.index(column)):
        text = cell.decode("utf-8", "replace")
        if not _is_utf8(cell) if value is None else text.strip() == value:
            return f"{file}: row {row}, column {column!r}: expected {expected}, got {text!r}"
    return f"{file}: column {column!r}: expected {expected}: {error}"


def _cells(file: Path, position: int) -> Iterator[tuple[int, bytes]]:
    """Row number, the header being row 1, and bytes of every cell of a column."""
    # Latin-1 maps every byte to one character and back.
    with open(file, newline="", encoding="latin-1") as lines:
        for row, cells in enumerate(csv.reader(lines), 1):
            if row > 1 and position < len(cells):
                yield row, cells[position].encode("latin-1")


def _is_utf8(cell: bytes) -> bool:
    try:
        cell.decode()
    except UnicodeDecodeError:
        return False
    return True
