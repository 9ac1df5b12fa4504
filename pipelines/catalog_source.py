"""Reads the items to project: raw `items` tables, or the catalog's tf.Examples."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from model.feature import Feature
from model.schema import DatasetSchema
from pipelines.dead_letters import DeadLetter, LetterBook, Reason
from pipelines.preprocess.parsing import MISSING_INT, parse, parse_item_ids, parse_multi_hot
from pipelines.project_items import ITEM_ID, ItemBatch
from pipelines.readers import Chunk, Span, read_chunks

BATCH_ROWS = 65_536
LETTERS, READ = "letters", "read"
_BUCKETS = 64
_MISSING: dict[str, object] = {"int64": MISSING_INT, "string": b"", "float32": np.nan}

SpanKey = tuple[int, int]
"""File index and row group of a span."""


@dataclasses.dataclass(frozen=True)
class CatalogItems:
    """What a source gives: PCollections of `ItemBatch`, of lists of `DeadLetter`, and the number of rows read."""

    batches: beam.PCollection
    letters: beam.PCollection
    read: beam.PCollection


class ReadItemTables(beam.PTransform):  # type: ignore[misc]
    """PBegin -> `CatalogItems` of a raw `items` table; of an item that occurs twice, the first usable row counts.

    Two passes: the first judges every row and finds duplicates across files (ids alone travel, in 64 buckets), the
    second reads again and leaves those out. So memory is bounded by a bucket of ids, not by the catalog.

    Args:
        spans: What there is to read, from `readers.open_table`.
        schema: The declared columns.
        widths: Most values to keep of each multi-hot feature.
    """

    def __init__(self, spans: Iterable[Span], schema: DatasetSchema, widths: Mapping[str, int]) -> None:
        super().__init__()
        self._spans = [((span.file_index, span.row_group or 0), span) for span in spans]
        self._schema, self._widths = schema, dict(widths)

    def expand(self, begin: beam.pvalue.PBegin) -> Any:
        spans = begin | "Spans" >> beam.Create(self._spans, reshuffle=True)
        scanned = spans | "Scan" >> beam.ParDo(_Scan(self._schema)).with_outputs(LETTERS, READ, main="ids")
        duplicates = scanned.ids | "ByBucket" >> beam.GroupByKey() | "FindDuplicates" >> beam.FlatMapTuple(_duplicates)
        batches = (
            {"span": spans, "duplicates": duplicates}
            | "WithDuplicates" >> beam.CoGroupByKey()
            | "Read" >> beam.ParDo(_Read(self._schema, self._widths)).with_outputs(LETTERS, main="batches")
        )
        letters = (scanned[LETTERS], batches[LETTERS]) | "AllLetters" >> beam.Flatten()
        return CatalogItems(batches.batches, letters, scanned[READ] | "CountRows" >> beam.CombineGlobally(sum))


class ReadCatalogExamples(beam.PTransform):  # type: ignore[misc]
    """PBegin -> `CatalogItems` of gzipped TFRecords of catalog Examples, one item each, already clean.

    Args:
        files: The TFRecord files.
        schema: The declared columns.
        widths: Most values to keep of each multi-hot feature.
    """

    def __init__(self, files: Iterable[str], schema: DatasetSchema, widths: Mapping[str, int]) -> None:
        super().__init__()
        self._files, self._schema, self._widths = list(files), schema, dict(widths)

    def expand(self, begin: beam.pvalue.PBegin) -> Any:
        batches = (
            begin
            | "Files" >> beam.Create(self._files, reshuffle=True)
            | "Parse" >> beam.FlatMap(read_examples, self._schema, self._widths)
        )
        read = batches | "Rows" >> beam.Map(lambda batch: len(batch.item_id)) | "CountRows" >> beam.CombineGlobally(sum)
        return CatalogItems(batches, begin | "NoLetters" >> beam.Create([]), read)


@dataclasses.dataclass(frozen=True)
class _Items:
    """A parsed chunk of an items table: keys int64 [n], features, and the book that knows the good rows."""

    item_id: npt.NDArray[np.int64]
    features: dict[str, Any]
    book: LetterBook


def _parse_items(chunk: Chunk, file: str, schema: DatasetSchema) -> _Items:
    book = LetterBook("items", file, chunk.rows)
    raw_id = chunk.columns.column(schema.item_id.name)
    item_id, null, garbage = parse_item_ids(raw_id, schema.item_id)
    book.add(null, Reason.NULL_ID, schema.item_id.name, raw_id)
    book.add(garbage, Reason.GARBAGE_ID, schema.item_id.name, raw_id)
    features: dict[str, Any] = {}
    for feature in schema.inherent:
        raw = chunk.columns.column(feature.name)
        if feature.multi_hot:
            features[feature.name], bad = parse_multi_hot(raw, feature)
        else:
            parsed = parse(raw, feature)
            features[feature.name], bad = parsed.values, parsed.bad
        book.add(bad, Reason.BAD_VALUE, feature.name, raw)
    return _Items(item_id, features, book)


class _Scan(beam.DoFn):  # type: ignore[misc]
    """(key, span) -> (bucket, (key, item ids, rows)) of the usable rows; the others as dead letters; rows read."""

    def __init__(self, schema: DatasetSchema) -> None:
        self._schema = schema

    def process(self, keyed: tuple[SpanKey, Span]) -> Iterator[Any]:
        key, span = keyed
        for chunk in read_chunks(span, BATCH_ROWS):
            items = _parse_items(chunk, span.file, self._schema)
            letters = items.book.letters + [
                DeadLetter("items", span.file, row, "", Reason.MALFORMED_ROW, text) for row, text in chunk.malformed
            ]
            yield TaggedOutput(READ, len(chunk.rows) + len(chunk.malformed))
            yield TaggedOutput(LETTERS, letters)
            good = items.book.good
            item_id, rows = items.item_id[good], chunk.rows[good]
            bucket = item_id % _BUCKETS
            order = np.argsort(bucket, kind="stable")
            cuts = np.searchsorted(bucket[order], np.arange(_BUCKETS + 1))
            for number in range(_BUCKETS):
                part = order[cuts[number] : cuts[number + 1]]
                if len(part):
                    yield number, (key, item_id[part], rows[part])


def _duplicates(
    _: int, parts: Iterable[tuple[SpanKey, npt.NDArray[np.int64], npt.NDArray[np.int64]]]
) -> Iterator[tuple[SpanKey, npt.NDArray[np.int64]]]:
    """All rows of a bucket -> (key, rows to leave out): every occurrence of an item but the first by file and row."""
    found = sorted(parts, key=lambda part: part[0])
    item_id = np.concatenate([ids for _, ids, _ in found])
    span = np.repeat(np.arange(len(found)), [len(ids) for _, ids, _ in found])
    rows = np.concatenate([rows for _, _, rows in found])
    # Keys ascend, so `span` orders by file; rows of one file ascend with their row group.
    order = np.lexsort((rows, span, item_id))
    again = order[1:][item_id[order][1:] == item_id[order][:-1]]
    for number in np.unique(span[again]).tolist():
        yield found[number][0], rows[again[span[again] == number]]


class _Read(beam.DoFn):  # type: ignore[misc]
    """(key, span and its duplicate rows) -> `ItemBatch`es of the rows to project; duplicates as dead letters."""

    def __init__(self, schema: DatasetSchema, widths: Mapping[str, int]) -> None:
        self._schema, self._widths = schema, widths

    def process(self, grouped: tuple[SpanKey, Mapping[str, Iterable[Any]]]) -> Iterator[Any]:
        _, values = grouped
        duplicates = np.concatenate([np.zeros(0, np.int64), *values["duplicates"]])
        for span in values["span"]:
            for chunk in read_chunks(span, BATCH_ROWS):
                items = _parse_items(chunk, span.file, self._schema)
                items.book.letters.clear()
                column = self._schema.item_id.name
                again = np.isin(chunk.rows, duplicates)
                items.book.add(again, Reason.DUPLICATE_ITEM, column, chunk.columns.column(column))
                yield TaggedOutput(LETTERS, items.book.letters)
                good = items.book.good
                yield ItemBatch(
                    items.item_id[good],
                    _inputs(self._schema, {n: _take(v, good) for n, v in items.features.items()}, self._widths),
                )


def _take(values: Any, good: npt.NDArray[np.bool_]) -> Any:
    return values.filter(pa.array(good)) if isinstance(values, pa.Array) else values[good]


def _inputs(schema: DatasetSchema, features: Mapping[str, Any], widths: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Parsed features as inputs of the signature."""
    inputs: dict[str, np.ndarray] = {}
    for feature in schema.inherent:
        values = features[feature.name]
        if feature.multi_hot:
            flat = values.flatten().to_numpy(zero_copy_only=False)
            padded, length = pad(flat, np.diff(values.offsets.to_numpy()), feature, widths[feature.name])
            inputs[feature.name], inputs[f"{feature.name}/length"] = padded, length
        else:
            inputs[feature.name] = values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values
    return inputs


def pad(
    flat: np.ndarray, length: npt.NDArray[np.int64], feature: Feature, width: int
) -> tuple[np.ndarray, npt.NDArray[np.int64]]:
    """Lists end to end -> ([M, W] padded, lengths int64 [M]), with the first `width` values of each list at most."""
    kept = np.minimum(length, width)
    padded = np.full((len(length), max(1, int(kept.max(initial=0)))), _MISSING[feature.dtype], flat.dtype)
    row = np.repeat(np.arange(len(length)), length)
    position = np.arange(len(flat)) - np.repeat(np.cumsum(length) - length, length)
    within = position < width
    padded[row[within], position[within]] = flat[within]
    return padded, kept


def read_examples(file: str, schema: DatasetSchema, widths: Mapping[str, int]) -> Iterator[ItemBatch]:
    """Reads one gzipped TFRecord file of catalog Examples in batches."""
    import tensorflow as tf

    spec: dict[str, object] = {"item_id": tf.io.FixedLenFeature([], tf.int64)}
    for feature in schema.inherent:
        spec[feature.name] = tf.io.RaggedFeature(tf.dtypes.as_dtype(feature.dtype))
    for serialized in tf.data.TFRecordDataset(file, compression_type="GZIP").batch(BATCH_ROWS // 8):
        parsed = tf.io.parse_example(serialized, spec)
        inputs: dict[str, np.ndarray] = {}
        for feature in schema.inherent:
            flat, length = parsed[feature.name].values.numpy(), parsed[feature.name].row_lengths().numpy()
            padded, kept = pad(flat, length.astype(np.int64), feature, widths.get(feature.name, 1))
            if feature.multi_hot:
                inputs[feature.name], inputs[f"{feature.name}/length"] = padded, kept
            else:
                inputs[feature.name] = padded[:, 0]
        yield ItemBatch(parsed[ITEM_ID].numpy(), inputs)
