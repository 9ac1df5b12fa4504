"""Raw users -> spill files; a partition of users and events -> the users' training examples."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput

from model.schema import DatasetSchema
from pipelines.dead_letters import DeadLetter, LetterBook, Reason
from pipelines.examples import Values, encode_example
from pipelines.preprocess.catalog import Lookups, split_lookups
from pipelines.preprocess.event_columns import ARROW_TYPES, EventBatches, Events, event_features
from pipelines.preprocess.events import COUNTS, LETTERS, in_global_window, malformed_letters
from pipelines.preprocess.parsing import parse, parse_user_ids
from pipelines.preprocess.sequences import Sequences, build_sequences, drop_duplicates
from pipelines.preprocess.spill import FILE, ROW, USER, Segment, SpillWriter, read_by_user
from pipelines.preprocess.split_config import SplitConfig
from pipelines.readers import Span, read_chunks

LOOKUPS = "lookups"
_FLUSH_LOOKUPS = 1 << 20


def user_row_schema(schema: DatasetSchema) -> pa.Schema:
    """The columns in which rows of the users table are spilled; a missing feature is null."""
    head = [(USER, pa.binary()), (FILE, pa.int32()), (ROW, pa.int64())]
    return pa.schema(head + [(f.name, ARROW_TYPES[f.dtype]) for f in schema.user])


class ParseUsers(beam.DoFn):  # type: ignore[misc]
    """Spans of the users table -> (partition, `Segment`) of the usable rows. Tagged outputs: `letters` and `counts`.

    Args:
        schema: The declared columns.
        spill: Folder of the spill files.
        partitions: Number of partitions of the users.
    """

    def __init__(self, schema: DatasetSchema, spill: str, partitions: int) -> None:
        self._schema = schema
        self._spill = (spill, partitions)

    def start_bundle(self) -> None:
        """Small chunks of a bundle share a spill file."""
        self._writer = SpillWriter(*self._spill)

    def process(self, span: Span) -> Iterator[Any]:
        """Reads and checks one span."""
        assert self._schema.user_key is not None
        for chunk in read_chunks(span):
            yield TaggedOutput(COUNTS, ("read_users", len(chunk.rows) + len(chunk.malformed)))
            columns = chunk.columns
            key = self._schema.user_key.name
            users = parse_user_ids(columns[key], self._schema.user_key)
            book = LetterBook("users", span.file, chunk.rows)
            book.add(users.null, Reason.NULL_ID, key, columns[key])
            book.add(users.garbage, Reason.GARBAGE_ID, key, columns[key])
            names = pa.array(users.names, pa.binary()).take(pa.array(users.codes))
            cells = [names, pa.array(np.full(len(names), span.file_index, np.int32)), pa.array(chunk.rows)]
            for feature in self._schema.user:
                parsed = parse(columns[feature.name], feature)
                book.add(parsed.bad, Reason.BAD_VALUE, feature.name, columns[feature.name])
                values = pc.if_else(pa.array(parsed.missing), None, parsed.values)
                cells.append(values.cast(ARROW_TYPES[feature.dtype]))
            letters = malformed_letters("users", span.file, chunk) + book.letters
            if letters:
                yield TaggedOutput(LETTERS, letters)
            batch = pa.RecordBatch.from_arrays(cells, schema=user_row_schema(self._schema))
            yield from self._writer.add(batch.filter(pa.array(book.good)))

    def finish_bundle(self) -> Iterator[Any]:
        """Writes what is pending."""
        yield from map(in_global_window, self._writer.flush())


class BuildExamples(beam.DoFn):  # type: ignore[misc]
    """(partition, {"events": segments, "users": segments}) -> serialized examples, tagged with their split.

    Further tagged outputs: `letters`, `counts`, and `lookups` (`Lookups` by catalog shard).

    Args:
        schema: The declared columns.
        split: The time ranges.
        event_files, user_files: The raw files by index.
        catalog_shards: Number of parts the catalog is cut into.
        spill: Folder of the spill files.
    """

    def __init__(
        self,
        schema: DatasetSchema,
        split: SplitConfig,
        event_files: tuple[str, ...],
        user_files: tuple[str, ...],
        catalog_shards: int,
        spill: str,
    ) -> None:
        self._schema = schema
        self._split = split
        self._event_files = event_files
        self._user_files = user_files
        self._shards = catalog_shards
        self._spill = spill
        self._batches = EventBatches(event_features(schema))

    def start_bundle(self) -> None:
        """Lookups are summed within a bundle, then sent."""
        self._pending: list[Lookups] = []
        self._pending_keys = 0

    def process(self, grouped: tuple[int, dict[str, Iterable[Segment]]]) -> Iterator[Any]:
        """Builds the examples of one partition's users."""
        segments = grouped[1]
        counts: Counter[str] = Counter()
        rows_of: dict[bytes, pa.RecordBatch] = {}
        for user, rows in read_by_user(self._spill, segments["users"], user_row_schema(self._schema)):
            order = np.lexsort((rows.column(ROW), rows.column(FILE)))
            if len(order) > 1:
                yield TaggedOutput(LETTERS, self._duplicate_users(user, rows.take(pa.array(order[1:]))))
            rows_of[user] = rows.slice(int(order[0]), 1)
        counts["kept_users"] = len(rows_of)
        for user, batch in read_by_user(self._spill, segments["events"], self._batches.schema):
            events, repeated = drop_duplicates(self._batches.events(batch))
            if len(repeated.item):
                yield TaggedOutput(LETTERS, self._duplicate_events(user, repeated))
            sequences = build_sequences(events, self._schema, self._split)
            counts.update(sequences.counts)
            row = rows_of.pop(user, None)
            counts["users_without_features"] += self._schema.user_key is not None and row is None
            features = self._user_columns(user, row)
            for split, columns in sequences.examples.items():
                counts[f"examples_{split}"] += 1
                yield TaggedOutput(split, encode_example(features | columns))
            counts["lookups"] += len(sequences.train_lookups)
            yield from self._sum_lookups(sequences)
        counts["users_without_events"] = len(rows_of)
        for count in counts.items():
            yield TaggedOutput(COUNTS, count)

    def finish_bundle(self) -> Iterator[Any]:
        """Sends the lookups of the bundle."""
        for part in split_lookups(self._pending, self._shards):
            yield TaggedOutput(LOOKUPS, in_global_window(part))
        self.start_bundle()

    def _sum_lookups(self, sequences: Sequences) -> Iterator[TaggedOutput]:
        self._pending.append(np.unique(sequences.train_lookups, return_counts=True))
        self._pending_keys += len(self._pending[-1][0])
        if self._pending_keys > _FLUSH_LOOKUPS:
            for part in split_lookups(self._pending, self._shards):
                yield TaggedOutput(LOOKUPS, part)
            self.start_bundle()

    def _user_columns(self, user: bytes, row: pa.RecordBatch | None) -> dict[str, Values]:
        columns: dict[str, Values] = {"user_id": pa.array([user], pa.binary())}
        if row is not None:
            for feature in self._schema.user:
                value = row.column(feature.name)
                if value.null_count == 0:
                    columns[f"user/{feature.name}"] = value
        return columns

    def _duplicate_events(self, user: bytes, repeated: Events) -> list[DeadLetter]:
        column, name = self._schema.timestamp.name, user.decode()
        places = zip(*(a.tolist() for a in (repeated.file, repeated.row, repeated.item, repeated.time)), strict=True)
        return [
            DeadLetter(
                "events",
                self._event_files[file],
                row,
                column,
                Reason.DUPLICATE_EVENT,
                f"{time} (user {name}, item key {item})",
            )
            for file, row, item, time in places
        ]

    def _duplicate_users(self, user: bytes, rows: pa.RecordBatch) -> list[DeadLetter]:
        column, reason, name = self._schema.user_id.name, Reason.DUPLICATE_USER, user.decode()
        places = zip(rows.column(FILE).to_pylist(), rows.column(ROW).to_pylist(), strict=True)
        return [DeadLetter("users", self._user_files[file], row, column, reason, name) for file, row in places]
