"""Quotes of a CSV file that are not closed in their row, and the rows they swallow.

A quote at the start of a field makes everything up to the next one a part of it, line ends included. Text may hold line
ends, so a swallowed row is told from such text by its fields: each has as many as the header.
"""

import csv
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_FEWEST_COLUMNS = 4
"""With fewer, a comma in a text of two lines looks like a row."""

Malformed = tuple[tuple[int, str], ...]


def swallowing_cells(columns: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Which rows, bool [n], have a cell that holds whole rows of the file: k line ends and k rows' worth of commas.

    Args:
        columns: All columns of the file, binary.
    """
    found = np.zeros(len(columns), bool)
    if columns.num_columns < _FEWEST_COLUMNS:
        return found
    for column in columns.columns:
        at = np.flatnonzero(pc.match_substring(column, b"\n").to_numpy(zero_copy_only=False))
        for i, cell in zip(at.tolist(), column.take(pa.array(at)).to_pylist(), strict=True):
            text = cell.rstrip(b"\r\n")
            lines = text.count(b"\n")
            # A cell that ends with the file has no line end but swallowed ones.
            found[i] |= lines > 0 and text.count(b",") == lines * (columns.num_columns - 1)
    return found


def row_text(columns: pa.RecordBatch, row: int) -> str:
    """A row as the line, or lines, it was cut from; up to quotes."""
    return b",".join(column[row].as_py() for column in columns.columns).decode("utf-8", "backslashreplace")


def spread(
    rows: npt.NDArray[np.int64], malformed: Malformed, columns: int, before: int
) -> tuple[npt.NDArray[np.int64], Malformed, int]:
    """Gives every swallowed line its own number and entry.

    Args:
        rows: int64 [n], numbers of good rows, each malformed one counted once.
        malformed: Number and text of the malformed ones among them.
        columns: Fields of the header.
        before: Lines swallowed before these rows.

    Returns:
        The numbers of the good rows, the malformed lines, and the lines swallowed so far.
    """
    numbers, shifts, spread_out = [], [], []
    swallowed = before
    for number, text in malformed:
        lines = text.rstrip("\r\n").split("\n")
        first = number + swallowed
        # Text of two lines in a row with a comma too many is one malformed row.
        if not any(line.count(",") == columns - 1 for line in lines[1:]):
            spread_out.append((first, text))
            continue
        spread_out.append((first, f"a quote opened in this row swallowed the {len(lines) - 1} after it: {lines[0]}"))
        spread_out += [
            (first + k, f"swallowed by a quote opened in row {first}: {lines[k]}") for k in range(1, len(lines))
        ]
        swallowed += len(lines) - 1
        numbers.append(number)
        shifts.append(len(lines) - 1)
    shift = np.concatenate([[0], np.cumsum(np.array(shifts, np.int64))]) + before
    return rows + shift[np.searchsorted(np.array(numbers, np.int64), rows)], tuple(spread_out), swallowed


def find_long_row(lines: Iterable[bytes], limit: int) -> int | None:
    """Line number, from 1, where the first row of more than `limit` bytes begins; None without such a row."""
    csv.field_size_limit(max(csv.field_size_limit(), limit))
    # Latin-1 maps every byte to one character and back.
    reader = csv.reader(line.decode("latin-1") for line in lines)
    begin = 1
    try:
        for cells in reader:
            if sum(map(len, cells)) > limit:
                return begin
            begin = reader.line_num + 1
    except csv.Error:
        return begin
    return None
