"""Raw events -> checked events in spill files, ordered by the users' partition."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from model.schema import DatasetSchema
from pipelines.dead_letters import DeadLetter, LetterBook, Reason
from pipelines.preprocess.event_columns import BEHAVIOUR_BIT, LABEL_BIT, EventBatches, Events, event_features
from pipelines.preprocess.parsing import Ids, parse, parse_flag, parse_item_ids, parse_time, parse_user_ids
from pipelines.preprocess.spill import SpillWriter
from pipelines.readers import Chunk, Span, read_chunks

LETTERS = "letters"
COUNTS = "counts"


def in_global_window(value: object) -> WindowedValue:
    """A value as `finish_bundle` must give it."""
    window = GlobalWindow()
    return WindowedValue(value, window.max_timestamp(), (window,))


def malformed_letters(table: str, file: str, chunk: Chunk) -> list[DeadLetter]:
    """Letters of the rows that could not be cut into fields."""
    return [DeadLetter(table, file, row, "", Reason.MALFORMED_ROW, text[:200]) for row, text in chunk.malformed]


class ParseEvents(beam.DoFn):  # type: ignore[misc]
    """Spans of the events table -> (partition, `Segment`) of the events written to spill files.

    Side input: the sorted item keys of the catalog, int64, or None to take events of any item. Tagged outputs:
    `letters` (lists of `DeadLetter`) and `counts` ((name, number)).

    Args:
        schema: The declared columns.
        end_ms: Events at or after it lie in the future.
        spill: Folder of the spill files.
        partitions: Number of partitions of the users.
    """

    def __init__(self, schema: DatasetSchema, end_ms: int, spill: str, partitions: int) -> None:
        self._schema = schema
        self._end_ms = end_ms
        self._spill = (spill, partitions)
        self._batches = EventBatches(event_features(schema))

    def start_bundle(self) -> None:
        """Small chunks of a bundle share a spill file."""
        self._writer = SpillWriter(*self._spill)

    def process(self, span: Span, catalog: Any = None) -> Iterator[Any]:
        """Reads and checks one span."""
        for chunk in read_chunks(span):
            yield TaggedOutput(COUNTS, ("read_events", len(chunk.rows) + len(chunk.malformed)))
            users, events, book = self._check(span, chunk, catalog)
            letters = malformed_letters("events", span.file, chunk) + book.letters
            if letters:
                yield TaggedOutput(LETTERS, letters)
            good = np.flatnonzero(book.good)
            names = pa.array(users.names, pa.binary()).take(pa.array(users.codes[good]))
            yield from self._writer.add(self._batches.batch(names, events.take(good)))

    def finish_bundle(self) -> Iterator[Any]:
        """Writes what is pending."""
        yield from map(in_global_window, self._writer.flush())

    def _check(self, span: Span, chunk: Chunk, catalog: npt.NDArray[np.int64] | None) -> tuple[Ids, Events, LetterBook]:
        schema, columns = self._schema, chunk.columns
        book = LetterBook("events", span.file, chunk.rows)

        def reject(faulty: npt.NDArray[np.bool_], reason: Reason, column: str) -> None:
            book.add(faulty, reason, column, columns[column])

        user, item, time, label = schema.user_id.name, schema.item_id.name, schema.timestamp.name, schema.label.name
        users = parse_user_ids(columns[user], schema.user_id)
        keys, null_item, garbage_item = parse_item_ids(columns[item], schema.item_id)
        reject(users.null, Reason.NULL_ID, user)
        reject(null_item, Reason.NULL_ID, item)
        reject(users.garbage, Reason.GARBAGE_ID, user)
        reject(garbage_item, Reason.GARBAGE_ID, item)
        times, bad_time = parse_time(columns[time])
        reject(bad_time, Reason.UNPARSABLE_TIME, time)
        reject(times >= self._end_ms, Reason.FUTURE_TIME, time)
        positive, unknown = parse_flag(columns[label], schema.label)
        reject(unknown, Reason.UNKNOWN_LABEL, label)
        behaves = positive
        if schema.behaviour is not None:
            behaves, unknown = parse_flag(columns[schema.behaviour.name], schema.behaviour)
            reject(unknown, Reason.UNKNOWN_BEHAVIOUR, schema.behaviour.name)
        features = {}
        for feature in event_features(schema):
            parsed = parse(columns[feature.name], feature)
            reject(parsed.bad, Reason.BAD_VALUE, feature.name)
            features[feature.name] = parsed.values
        if catalog is not None:
            reject(~contains(catalog, keys), Reason.ITEM_NOT_IN_CATALOG, item)
        flags = (positive * LABEL_BIT + behaves * BEHAVIOUR_BIT).astype(np.uint8)
        file = np.full(len(keys), span.file_index, np.int32)
        return users, Events(keys, times, file, chunk.rows, flags, features), book


def contains(sorted_keys: npt.NDArray[np.int64], keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which `keys` int64 [n] are among `sorted_keys` int64 [m]: bool [n]."""
    if not len(sorted_keys):
        return np.zeros(len(keys), bool)
    at = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    found: npt.NDArray[np.bool_] = sorted_keys[at] == keys
    return found
