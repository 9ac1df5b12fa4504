"""Dead letters: the rows a job could not use, each with the place and the reason."""

import dataclasses
from collections.abc import Iterable, Sequence
from enum import StrEnum

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa

MAX_VALUE_CHARS = 200

ARROW_SCHEMA = pa.schema(
    [
        ("table", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("value", pa.string()),
    ]
)


class Reason(StrEnum):
    """Why a row is a dead letter. A row with several faults counts once, under the first of them in this order."""

    MALFORMED_ROW = "malformed_row"
    NULL_ID = "null_id"
    GARBAGE_ID = "garbage_id"
    UNPARSABLE_TIME = "unparsable_time"
    FUTURE_TIME = "future_time"
    UNKNOWN_LABEL = "unknown_label"
    UNKNOWN_BEHAVIOUR = "unknown_behaviour"
    BAD_VALUE = "bad_value"
    ITEM_NOT_IN_CATALOG = "item_not_in_catalog"
    DUPLICATE_EVENT = "duplicate_event"
    DUPLICATE_ITEM = "duplicate_item"
    ITEM_KEY_COLLISION = "item_key_collision"
    DUPLICATE_USER = "duplicate_user"


MEANINGS: dict[Reason, str] = {
    Reason.MALFORMED_ROW: "the line has more or fewer fields than the header, or lies within an open quote",
    Reason.NULL_ID: "the id is null or empty",
    Reason.GARBAGE_ID: "the id is negative, no integer where one is declared, no UTF-8, too long or has control codes",
    Reason.UNPARSABLE_TIME: "the timestamp is null or no integer of milliseconds since 1970",
    Reason.FUTURE_TIME: "the timestamp is at or after the end of the test split",
    Reason.UNKNOWN_LABEL: "the label is none of the declared values",
    Reason.UNKNOWN_BEHAVIOUR: "the behaviour flag is neither 0 nor 1",
    Reason.BAD_VALUE: "the value is not of the declared type",
    Reason.ITEM_NOT_IN_CATALOG: "the items table has no (usable) row for the item",
    Reason.DUPLICATE_EVENT: "the same user, item and timestamp occurred before",
    Reason.DUPLICATE_ITEM: "the items table has this item already",
    Reason.ITEM_KEY_COLLISION: "two item ids hash to one key; rename one of them",
    Reason.DUPLICATE_USER: "the users table has this user already",
}


@dataclasses.dataclass(frozen=True, order=True)
class DeadLetter:
    """One unusable row.

    Attributes:
        table: `events`, `items` or `users`.
        file: Path of the file.
        row: Number of the data row in its file, from 1; the header line of a CSV file does not count.
        column: The column at fault.
        reason: Why.
        value: The value found there, as text, cut to `MAX_VALUE_CHARS`.
    """

    table: str
    file: str
    row: int
    column: str
    reason: Reason
    value: str

    def __str__(self) -> str:
        return f"{self.file}: row {self.row}, column {self.column!r}: got {self.value!r} ({MEANINGS[self.reason]})"


def text_of(value: object) -> str:
    """A raw value as the text of a dead letter."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return "null" if value is None else str(value)[:MAX_VALUE_CHARS]


class LetterBook:
    """Collects the dead letters of one chunk of rows; a row enters at most once.

    Args:
        table: The table the chunk belongs to.
        file: The chunk's file.
        rows: int64 [n], number of each row in its file.
    """

    def __init__(self, table: str, file: str, rows: npt.NDArray[np.int64]) -> None:
        self._table = table
        self._file = file
        self._rows = rows
        self.good = np.ones(len(rows), bool)
        self.letters: list[DeadLetter] = []

    def add(self, faulty: npt.NDArray[np.bool_], reason: Reason, column: str, values: pa.Array) -> None:
        """Writes a letter for every row of `faulty` bool [n] that has none yet.

        Args:
            faulty: Which rows have this fault.
            reason: The fault.
            column: The column at fault.
            values: The raw values of that column, n of them.
        """
        for i in np.flatnonzero(faulty & self.good).tolist():
            value = text_of(values[i].as_py())
            self.letters.append(DeadLetter(self._table, self._file, int(self._rows[i]), column, reason, value))
        self.good &= ~faulty


def letter_table(letters: Sequence[DeadLetter]) -> pa.Table:
    """The letters as an Arrow table in `ARROW_SCHEMA`."""
    columns = {name: [getattr(letter, name) for letter in letters] for name in ARROW_SCHEMA.names}
    columns["reason"] = [letter.reason.value for letter in letters]
    return pa.table(columns, schema=ARROW_SCHEMA)


class WriteDeadLetters(beam.PTransform):  # type: ignore[misc]
    """Writes lists of `DeadLetter` as Parquet files with the columns of `ARROW_SCHEMA`.

    Args:
        folder: Where the shards go.
        name: Begin of their names.
    """

    def __init__(self, folder: str, name: str = "dead_letters") -> None:
        super().__init__()
        self._prefix = beam.io.filesystems.FileSystems.join(folder, name)

    def expand(self, letters: beam.PCollection) -> beam.PCollection:
        return (
            letters
            | "ToArrow" >> beam.Map(letter_table)
            | "Write" >> beam.io.WriteToParquetBatched(self._prefix, ARROW_SCHEMA, file_name_suffix=".parquet")
        )


class SummariseDeadLetters(beam.PTransform):  # type: ignore[misc]
    """Lists of `DeadLetter` -> ((table, reason), (count, first letter)), first by file and row."""

    def expand(self, letters: beam.PCollection) -> beam.PCollection:
        return letters | "Count" >> beam.FlatMap(summarise) | "Merge" >> beam.CombinePerKey(merge_summaries)


Summary = tuple[tuple[str, str], tuple[int, DeadLetter]]


def summarise(letters: Iterable[DeadLetter]) -> list[Summary]:
    """Count and first letter of each (table, reason)."""
    groups: dict[tuple[str, str], list[DeadLetter]] = {}
    for letter in letters:
        groups.setdefault((letter.table, letter.reason.value), []).append(letter)
    return [(key, (len(group), min(group))) for key, group in groups.items()]


def merge_summaries(parts: Iterable[tuple[int, DeadLetter]]) -> tuple[int, DeadLetter] | None:
    """Total count and first letter of one (table, reason)."""
    known = [part for part in parts if part is not None]
    # Some runners combine an empty list to find the neutral element.
    return (sum(n for n, _ in known), min(letter for _, letter in known)) if known else None
