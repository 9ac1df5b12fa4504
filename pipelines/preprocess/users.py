"""Blocks of a user's events and the user's features -> the user's training examples."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from model.schema import DatasetSchema, Feature
from pipelines.dead_letters import DeadLetter, LetterBook, Reason
from pipelines.examples import Values, encode_example
from pipelines.preprocess.blocks import Block, BlockCodec, Events, event_features
from pipelines.preprocess.catalog import Lookups, split_lookups
from pipelines.preprocess.events import COUNTS, LETTERS, malformed_letters
from pipelines.preprocess.parsing import parse, parse_user_ids
from pipelines.preprocess.sequences import build_sequences, drop_duplicates
from pipelines.preprocess.split_config import SplitConfig
from pipelines.readers import Span, read_chunks

LOOKUPS = "lookups"
_FLUSH_LOOKUPS = 1 << 22

UserRow = tuple[int, int, tuple[int | float | bytes | None, ...]]
"""File index, row, and the values of the user features in schema order; None = missing."""


class ParseUsers(beam.DoFn):  # type: ignore[misc]
    """Spans of the users table -> (user id, `UserRow`). Tagged outputs: `letters` and `counts`."""

    def __init__(self, schema: DatasetSchema) -> None:
        self._schema = schema

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
            values = []
            for feature in self._schema.user:
                parsed = parse(columns[feature.name], feature)
                book.add(parsed.bad, Reason.BAD_VALUE, feature.name, columns[feature.name])
                listed = parsed.values.to_pylist() if isinstance(parsed.values, pa.Array) else parsed.values.tolist()
                values.append([None if m else v for v, m in zip(listed, parsed.missing.tolist(), strict=True)])
            letters = malformed_letters("users", span.file, chunk) + book.letters
            if letters:
                yield TaggedOutput(LETTERS, letters)
            for i in np.flatnonzero(book.good).tolist():
                row = (span.file_index, int(chunk.rows[i]), tuple(column[i] for column in values))
                yield users.names[users.codes[i]], row


class BuildExamples(beam.DoFn):  # type: ignore[misc]
    """(user id, {"events": blocks, "users": rows}) -> serialized examples, tagged with their split.

    Further tagged outputs: `letters`, `counts`, and `lookups` (`Lookups` by catalog shard).

    Args:
        schema: The declared columns.
        split: The time ranges.
        event_files, user_files: The raw files by index.
        catalog_shards: Number of parts the catalog is cut into.
    """

    def __init__(
        self,
        schema: DatasetSchema,
        split: SplitConfig,
        event_files: tuple[str, ...],
        user_files: tuple[str, ...],
        catalog_shards: int,
    ) -> None:
        self._schema = schema
        self._split = split
        self._event_files = event_files
        self._user_files = user_files
        self._shards = catalog_shards
        self._codec = BlockCodec(event_features(schema))

    def start_bundle(self) -> None:
        """Lookups are summed within a bundle, then sent."""
        self._pending: list[Lookups] = []
        self._pending_keys = 0

    def process(self, grouped: tuple[bytes, dict[str, Iterable[Block | UserRow]]]) -> Iterator[Any]:
        """Builds one user's examples."""
        user, parts = grouped
        rows: list[UserRow] = sorted(parts["users"], key=lambda row: row[:2])  # type: ignore[arg-type, index]
        if len(rows) > 1:
            yield TaggedOutput(LETTERS, [self._duplicate_user(user, row) for row in rows[1:]])
        yield TaggedOutput(COUNTS, ("kept_users", 1 if rows else 0))
        blocks: list[Block] = list(parts["events"])  # type: ignore[arg-type]
        if not blocks:
            yield TaggedOutput(COUNTS, ("users_without_events", 1))
            return
        if self._schema.user_key is not None and not rows:
            yield TaggedOutput(COUNTS, ("users_without_features", 1))
        events, repeated = drop_duplicates(self._codec.join(blocks))
        if len(repeated.item):
            yield TaggedOutput(LETTERS, self._duplicate_events(user, repeated))
        sequences = build_sequences(events, self._schema, self._split)
        for name, count in sequences.counts.items():
            yield TaggedOutput(COUNTS, (name, count))
        features = self._user_columns(user, rows[0] if rows else None)
        for split, columns in sequences.examples.items():
            yield TaggedOutput(COUNTS, (f"examples_{split}", 1))
            yield TaggedOutput(split, encode_example(features | columns))
        if len(sequences.train_lookups):
            yield TaggedOutput(COUNTS, ("lookups", len(sequences.train_lookups)))
            self._pending.append(np.unique(sequences.train_lookups, return_counts=True))
            self._pending_keys += len(self._pending[-1][0])
        if self._pending_keys > _FLUSH_LOOKUPS:
            for part in split_lookups(self._pending, self._shards):
                yield TaggedOutput(LOOKUPS, part)
            self.start_bundle()

    def finish_bundle(self) -> Iterator[Any]:
        """Sends the lookups of the bundle."""
        window = GlobalWindow()
        for part in split_lookups(self._pending, self._shards):
            yield TaggedOutput(LOOKUPS, WindowedValue(part, window.max_timestamp(), (window,)))
        self.start_bundle()

    def _user_columns(self, user: bytes, row: UserRow | None) -> dict[str, Values]:
        columns: dict[str, Values] = {"user_id": pa.array([user], pa.binary())}
        if row is not None:
            for feature, value in zip(self._schema.user, row[2], strict=True):
                if value is not None:
                    columns[f"user/{feature.name}"] = pa.array([value], arrow_type(feature))
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

    def _duplicate_user(self, user: bytes, row: UserRow) -> DeadLetter:
        file = self._user_files[row[0]]
        return DeadLetter("users", file, row[1], self._schema.user_id.name, Reason.DUPLICATE_USER, user.decode())


def arrow_type(feature: Feature) -> pa.DataType:
    """The Arrow type of a feature's values in an example."""
    return {"int64": pa.int64(), "float32": pa.float32(), "string": pa.binary()}[feature.dtype]
