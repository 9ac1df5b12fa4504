"""Streams a CSV file block by block, with typed columns and errors that name file, row and column."""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pv

from pipelines.importers.errors import DataImportError

BLOCK_BYTES = 32 << 20
_CONVERSION_ERROR = re.compile(r"In CSV column #(\d+): .*invalid value '(.*)'", re.DOTALL)


def stream_csv(file: Path, types: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    """Yields the named columns of a CSV file, a block of rows at a time.

    Args:
        file: The file, with a header line.
        types: Type of each column wanted; empty cells become nulls.

    Raises:
        DataImportError: If the file is empty, a column is missing or a cell does not convert.
    """
    names = read_header(file)
    for name in types:
        if name not in names:
            raise DataImportError(f"{file}: column {name!r} is missing; the file has {', '.join(names)}")
    convert = pv.ConvertOptions(column_types=dict(types), include_columns=list(types), strings_can_be_null=True)
    try:
        for batch in pv.open_csv(file, pv.ReadOptions(block_size=BLOCK_BYTES), convert_options=convert):
            yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        raise DataImportError(_explain(file, names, types, str(error))) from None


def read_header(file: Path) -> list[str]:
    """The column names of a CSV file.

    Raises:
        DataImportError: If the file is empty.
    """
    with open(file, newline="") as lines:
        names = next(csv.reader(lines), [])
    if not names:
        raise DataImportError(f"{file}: is empty; expected a CSV file with a header line")
    return names


def _explain(file: Path, names: list[str], types: Mapping[str, pa.DataType], error: str) -> str:
    """Adds row and column, which the streaming reader does not know."""
    match = _CONVERSION_ERROR.search(error)
    if match is None:
        return f"{file}: {error}"
    column = names[int(match[1])]
    with open(file, newline="") as lines:
        position = names.index(column)
        row = next(
            (n for n, cells in enumerate(csv.reader(lines), 1) if cells[position : position + 1] == [match[2]]), 0
        )
    return f"{file}: row {row}, column {column!r}: expected {types[column]}, got {match[2]!r}"
