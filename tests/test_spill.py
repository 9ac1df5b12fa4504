from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import execution

from model.schema import DatasetSchema
from pipelines.preprocess import spill
from pipelines.preprocess.spill import FILE, ROW, USER, Segment, SpillWriter, partition_count, read_by_user
from pipelines.preprocess.split_config import SplitConfig
from pipelines.readers import RawTable
from tests.preprocess_support import ITEMS, PLAIN_EVENTS, run, write_schema

COLUMNS = pa.schema([(USER, pa.binary()), (FILE, pa.int32()), (ROW, pa.int64()), ("text", pa.large_binary())])
EVENTS_PER_USER = 250


def batch(users: list[bytes], first_row: int) -> pa.RecordBatch:
    rows = range(first_row, first_row + len(users))
    columns = [users, [0] * len(users), list(rows), [f"text {row}".encode() for row in rows]]
    return pa.RecordBatch.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, COLUMNS, strict=True)], COLUMNS.names
    )


def spilled(folder: Path, batches: list[pa.RecordBatch], partitions: int) -> dict[int, list[Segment]]:
    writer = SpillWriter(str(folder), partitions)
    found: dict[int, list[Segment]] = {}
    for number, segment in [*(pair for one in batches for pair in writer.add(one)), *writer.flush()]:
        found.setdefault(number, []).append(segment)
    return found


def test_every_row_comes_back_with_all_of_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "BUFFER_BYTES", 2000)
    rng = np.random.default_rng(0)
    names = [f"user {i}".encode() for i in rng.integers(0, 40, 1000)]
    batches = [batch(names[at : at + 50], at) for at in range(0, 1000, 50)]
    # Two workers.
    parts = [spilled(tmp_path, half, 7) for half in (batches[:11], batches[11:])]
    assert len(list(tmp_path.iterdir())) > 4, "more than one buffer each"
    wanted = {name: {i for i, other in enumerate(names) if other == name} for name in set(names)}
    found: dict[bytes, set[int]] = {}
    for number in range(7):
        segments = [segment for part in parts for segment in part.get(number, [])]
        users = []
        for user, rows in read_by_user(str(tmp_path), segments, COLUMNS):
            assert user not in found, "a user's rows lie in one partition"
            found[user] = set(rows.column(ROW).to_pylist())
            assert rows.column("text").to_pylist() == [f"text {row}".encode() for row in rows.column(ROW).to_pylist()]
            users.append(user)
        assert users == sorted(users)
    assert found == wanted


def test_nothing_spilled_is_nothing_read(tmp_path: Path) -> None:
    assert spilled(tmp_path, [batch([], 0)], 3) == {}
    assert not list(tmp_path.iterdir())
    assert not list(read_by_user(str(tmp_path), [], COLUMNS))


def test_partitions_grow_with_rows_and_with_bytes() -> None:
    def table(rows: int, size: int) -> RawTable:
        return RawTable("events", (), (), (), rows, size)

    assert partition_count([table(10, 10)]) == 1
    assert partition_count([table(8 << 20, 10), table(10, 10)]) == 17
    assert partition_count([table(0, 10), table(0, 64 << 20)]) == 5


def held(folder: Path, schema: DatasetSchema, users: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Bytes that go through the runner's own shuffle, and the most rows that are in one buffer or partition at once."""
    events = users * EVENTS_PER_USER
    rng = np.random.default_rng(users)
    # All users speak at all times, so that every part of the file has some of each.
    columns = {"user": rng.permutation(np.repeat(np.arange(users), EVENTS_PER_USER)), "item": np.ones(events, np.int64)}
    columns |= {"time": np.arange(events), "click": np.ones(events, np.int64), "seen": np.ones(events, np.int64)}
    (folder / "events").mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "events" / "part.parquet", 5000)
    pq.write_table(pa.table({"item": [1], "author": [1], "topics": [["a"]], "size": [1.0]}), folder / "items.parquet")
    shuffled, rows = [0], [0]

    def counting(method: Callable[[Any, bytes], None]) -> Callable[[Any, bytes], None]:
        def append(buffer: Any, element: bytes) -> None:
            shuffled[0] += len(element)
            method(buffer, element)

        return append

    def one_batch(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
        joined = join(batches)
        rows[0] = max(rows[0], len(joined))
        return joined

    join = spill._one_batch
    with monkeypatch.context() as patch:
        patch.setattr(spill, "_one_batch", one_batch)
        for kind in (execution.ListBuffer, execution.GroupingBuffer):
            patch.setattr(kind, "append", counting(kind.append))
        report = run(folder, schema, folder / "out", SplitConfig(events // 2, events - 20, events - 10, events))
    assert report.events["read"] == events
    left = sorted(path.name for path in (folder / "out").iterdir())
    assert left == ["catalog", "dead_letters", "examples", "report.json"], "spill files are removed"
    return shuffled[0], rows[0]


def test_what_is_held_at_once_does_not_grow_with_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "PARTITION_ROWS", 4000)
    monkeypatch.setattr(spill, "BUFFER_BYTES", 500_000)
    schema = write_schema(tmp_path / "schema", PLAIN_EVENTS, ITEMS, None)
    few, many = 40, 240
    few_bytes, few_rows = held(tmp_path / "few", schema, few, monkeypatch)
    many_bytes, many_rows = held(tmp_path / "many", schema, many, monkeypatch)
    # Key, time, row, file and flags of an event alone are 29 bytes.
    per_event = (many_bytes - few_bytes) / ((many - few) * EVENTS_PER_USER)
    assert few_bytes > 0
    assert per_event < 3, f"the runner's shuffle takes {per_event:.1f} bytes more for each event more"
    # A buffer of 500,000 bytes is some 10,000 rows and the chunk that fills it, a partition 4,000 and a user or two.
    assert 4000 < few_rows <= 20_000
    assert 4000 < many_rows <= 20_000
