"""Raw items -> catalog examples with the number of training lookups of each item."""

import io
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from model.schema import DatasetSchema
from pipelines.dead_letters import DeadLetter, LetterBook, Reason, text_of
from pipelines.examples import encode_examples, scalar_lists
from pipelines.preprocess.events import COUNTS, LETTERS, contains, malformed_letters
from pipelines.preprocess.parsing import as_binary, parse, parse_item_ids, parse_multi_hot
from pipelines.readers import Span, read_chunks

Ints = npt.NDArray[np.int64]
Lookups = tuple[Ints, Ints]
"""Distinct item keys int64 [n], ascending, and how often each is looked up int64 [n]."""
KEYS = "keys"


def add_lookups(parts: Iterable[Lookups]) -> Lookups:
    """Sums lookups by key."""
    listed = list(parts)
    if not listed:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    keys, index = np.unique(np.concatenate([part[0] for part in listed]), return_inverse=True)
    counts = np.zeros(len(keys), np.int64)
    np.add.at(counts, index, np.concatenate([part[1] for part in listed]))
    return keys, counts


def split_lookups(parts: list[Lookups], shards: int) -> Iterator[tuple[int, Lookups]]:
    """Sums lookups and cuts them by catalog shard."""
    keys, counts = add_lookups(parts)
    shard = keys % shards
    for s in np.unique(shard).tolist():
        yield s, (keys[shard == s], counts[shard == s])


def merge_keys(parts: Iterable[Ints]) -> Ints:
    """Union of item keys, ascending."""
    listed = list(parts)
    return np.unique(np.concatenate(listed)) if listed else np.zeros(0, np.int64)


class ParseItems(beam.DoFn):  # type: ignore[misc]
    """Spans of the items table -> (catalog shard, Arrow IPC bytes of its usable rows).

    Tagged outputs: `keys` (distinct item keys, int64), `letters` and `counts`.

    Args:
        schema: The declared columns.
        shards: Number of parts the catalog is cut into, by item key.
    """

    def __init__(self, schema: DatasetSchema, shards: int) -> None:
        self._schema = schema
        self._shards = shards

    def process(self, span: Span) -> Iterator[Any]:
        """Reads and checks one span."""
        item = self._schema.item_id
        for chunk in read_chunks(span):
            yield TaggedOutput(COUNTS, ("read_items", len(chunk.rows) + len(chunk.malformed)))
            columns = chunk.columns
            book = LetterBook("items", span.file, chunk.rows)
            keys, null, garbage = parse_item_ids(columns[item.name], item)
            book.add(null, Reason.NULL_ID, item.name, columns[item.name])
            book.add(garbage, Reason.GARBAGE_ID, item.name, columns[item.name])
            # The raw text tells a repeated item from another one that hashes to the same key.
            raw = as_binary(columns[item.name]) if item.dtype == "string" else pa.array([b""] * len(keys), pa.binary())
            file = pa.array(np.full(len(keys), span.file_index, np.int32))
            table = {"#key": pa.array(keys), "#raw": raw, "#file": file, "#row": pa.array(chunk.rows)}
            for feature in self._schema.inherent:
                if feature.multi_hot:
                    table[feature.name], bad = parse_multi_hot(columns[feature.name], feature)
                else:
                    parsed = parse(columns[feature.name], feature)
                    table[feature.name], bad = scalar_lists(parsed.values, ~(parsed.missing | parsed.bad)), parsed.bad
                book.add(bad, Reason.BAD_VALUE, feature.name, columns[feature.name])
            letters = malformed_letters("items", span.file, chunk) + book.letters
            if letters:
                yield TaggedOutput(LETTERS, letters)
            yield TaggedOutput(KEYS, np.unique(keys[book.good]))
            shard = keys % self._shards
            for s in np.unique(shard[book.good]).tolist():
                yield s, _to_bytes(pa.table(table).filter(pa.array(book.good & (shard == s))))


class BuildCatalog(beam.DoFn):  # type: ignore[misc]
    """(shard, {"items": Arrow IPC bytes, "lookups": `Lookups`}) -> serialized catalog examples, by item key.

    Tagged outputs: `letters` and `counts`.

    Args:
        schema: The declared columns.
        files: The raw files of the items table, by index.
    """

    def __init__(self, schema: DatasetSchema, files: tuple[str, ...]) -> None:
        self._schema = schema
        self._files = files

    def process(self, grouped: tuple[int, dict[str, Iterable[bytes | Lookups]]]) -> Iterator[Any]:
        """Builds one shard."""
        parts = list(grouped[1]["items"])
        looked_up, counts = add_lookups(grouped[1]["lookups"])  # type: ignore[arg-type]
        if not parts:
            return
        table = pa.concat_tables([pa.ipc.open_stream(part).read_all() for part in parts])
        order = [(name, "ascending") for name in ("#key", "#file", "#row")]
        table = table.sort_by(order).combine_chunks()
        keys = table["#key"].to_numpy()
        first = np.concatenate([[True], keys[1:] != keys[:-1]])
        if not first.all():
            yield TaggedOutput(LETTERS, self._repeated(table, first))
        kept = table.filter(pa.array(first)).combine_chunks()
        keys = keys[first]
        frequency = np.zeros(len(keys), np.int64)
        found = contains(looked_up, keys)
        frequency[found] = counts[np.searchsorted(looked_up, keys[found])]
        yield TaggedOutput(COUNTS, ("catalog_items", len(keys)))
        yield TaggedOutput(COUNTS, ("catalog_frequency", int(frequency.sum())))
        columns = {"item_id": scalar_lists(keys), "frequency": scalar_lists(frequency)}
        columns |= {f.name: kept[f.name].chunk(0) for f in self._schema.inherent}
        yield from encode_examples(columns)

    def _repeated(self, table: pa.Table, first: npt.NDArray[np.bool_]) -> list[DeadLetter]:
        keys, raw = table["#key"].to_pylist(), table["#raw"].to_pylist()
        kept = np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))
        letters = []
        for i in np.flatnonzero(~first).tolist():
            same = raw[i] == raw[kept[i]]
            value = text_of(raw[i] or keys[i]) if same else f"{text_of(raw[i])} (as {text_of(raw[kept[i]])})"
            place = (self._files[table["#file"][i].as_py()], table["#row"][i].as_py(), self._schema.item_id.name)
            reason = Reason.DUPLICATE_ITEM if same else Reason.ITEM_KEY_COLLISION
            letters.append(DeadLetter("items", *place, reason, value))
        return letters


def _to_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
