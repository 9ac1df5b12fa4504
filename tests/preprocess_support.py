"""A small data set, its job and its outputs, for the preprocessing tests."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from model.schema import DatasetSchema, load_schema
from pipelines.beam_options import beam_options
from pipelines.preprocess.event_columns import BEHAVIOUR_BIT, LABEL_BIT, Events
from pipelines.preprocess.job import OutputPaths, preprocess
from pipelines.preprocess.report import PreprocessReport
from pipelines.preprocess.split_config import SplitConfig

Rows = Mapping[str, Sequence[Any]]

EVENTS = """
feature { name: "user" type: INT annotation { tag: "id" } }
feature { name: "item" type: INT annotation { tag: "id" } }
feature { name: "time" type: INT annotation { tag: "timestamp" } }
feature { name: "click" type: INT annotation { tag: "label" } }
feature { name: "seen" type: INT annotation { tag: "behaviour" } }
feature { name: "play" type: FLOAT annotation { tag: "cross" } }
feature { name: "stars" type: INT annotation { tag: "cross" } }
feature { name: "mood" type: BYTES annotation { tag: "cross" } }
feature { name: "page" type: INT annotation { tag: "context" } }
"""
PLAIN_EVENTS = "\n".join(EVENTS.strip().splitlines()[:5])
ITEMS = """
feature { name: "item" type: INT annotation { tag: "id" } }
feature { name: "author" type: INT annotation { tag: "inherent" } }
feature { name: "topics" type: BYTES value_count { max: 0 } annotation { tag: "inherent" } }
feature { name: "size" type: FLOAT annotation { tag: "inherent" } }
"""
USERS = """
feature { name: "user" type: INT annotation { tag: "id" } }
feature { name: "age" type: INT annotation { tag: "user" } }
feature { name: "town" type: BYTES annotation { tag: "user" } }
"""
# Times 0 to 99 are history only, 100 to 199 train, 200 to 299 eval, 300 to 399 test.
SPLIT = SplitConfig(100, 200, 300, 400)
ITEM_ROWS: Rows = {
    "item": [1, 2, 3],
    "author": [7, 8, None],
    "topics": [["a", "b"], [], ["c"]],
    "size": [1.5, None, 2.5],
}
USER_ROWS: Rows = {"user": [10, 11], "age": [30, None], "town": ["rome", ""]}


def write_schema(folder: Path, events: str = EVENTS, items: str = ITEMS, users: str | None = USERS) -> DatasetSchema:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("events", events), ("items", items), ("users", users)):
        if text is not None:
            (folder / f"{name}.pbtxt").write_text(text)
    return load_schema(folder)


def event_rows(*rows: tuple[Any, ...]) -> dict[str, list[Any]]:
    """(user, item, time, click, seen) -> columns; the other features follow from the position of the row."""
    names = ("user", "item", "time", "click", "seen")
    columns: dict[str, list[Any]] = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    n = len(rows)
    columns |= {"play": [0.5 * i for i in range(n)], "stars": list(range(n))}
    return columns | {"mood": [f"m{i}" for i in range(n)], "page": [i % 3 for i in range(n)]}


def plain_events(item: list[int], time: list[int], label: list[int], behaviour: list[int]) -> Events:
    """Events of one user without features, row numbers from 1."""
    flags = np.array(label, np.uint8) * LABEL_BIT + np.array(behaviour, np.uint8) * BEHAVIOUR_BIT
    n = len(item)
    rows, files = np.arange(1, n + 1), np.zeros(n, np.int32)
    return Events(np.array(item, np.int64), np.array(time, np.int64), files, rows, flags.astype(np.uint8), {})


def write_parquet(path: Path, columns: Rows, row_group_size: int = 1000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), path, row_group_size)


def write_csv(path: Path, columns: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow("|".join(map(str, cell)) if isinstance(cell, list) else cell for cell in row)


def write_data(folder: Path, events: Rows, items: Rows = ITEM_ROWS, users: Rows | None = USER_ROWS) -> Path:
    write_parquet(folder / "events" / "part-0.parquet", events)
    write_parquet(folder / "items.parquet", items)
    if users is not None:
        write_parquet(folder / "users.parquet", users)
    return folder


def run(
    data: Path, schema: DatasetSchema, out: Path, split: SplitConfig = SPLIT, args: Sequence[str] = ()
) -> PreprocessReport:
    return preprocess(data, schema, split, OutputPaths.under(out), beam_options(args))


def read_examples(folder: Path) -> list[dict[str, Any]]:
    """The examples of a `Split-*` folder as dictionaries of lists, in order of their id."""
    files = sorted(folder.glob("*.gz"))
    assert files, f"no example files in {folder}"
    records: list[bytes] = []
    for file in files:
        source = beam.io.tfrecordio._create_tfrecordio_source(str(file), beam.coders.BytesCoder(), "auto")
        records += source.read_records(str(file), beam.io.restriction_trackers.OffsetRangeTracker(0, 1 << 60))
    if not records:
        return []
    rows = ExamplesToRecordBatchDecoder().DecodeBatch(records).to_pylist()
    return sorted(rows, key=lambda row: row.get("user_id") or row["item_id"])


def read_letters(out: Path) -> list[dict[str, Any]]:
    table = pq.read_table(out / "dead_letters")
    return sorted(table.to_pylist(), key=lambda row: (row["table"], row["file"], row["row"]))


def read_report(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "report.json").read_text()))


def read_all(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Everything a job wrote, comparable between runs."""
    content = {name: read_examples(out / "examples" / f"Split-{name}") for name in ("train", "eval", "test")}
    content["catalog"] = read_examples(out / "catalog" / "Split-catalog")
    content["letters"] = [letter | {"file": Path(letter["file"]).stem} for letter in read_letters(out)]
    return content
