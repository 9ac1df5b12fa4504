import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import schema as model_schema
from model.errors import UserError
from pipelines import job_files
from pipelines.dead_letters import Reason
from pipelines.preprocess import catalog, job, parsing
from pipelines.preprocess.job import OutputPaths
from pipelines.preprocess.report import CountMismatchError
from pipelines.preprocess.split_config import SplitConfig
from pipelines.readers import RawDataError
from tests.preprocess_support import (
    EVENTS,
    ITEM_ROWS,
    ITEMS,
    SPLIT,
    USER_ROWS,
    event_rows,
    read_examples,
    read_letters,
    read_report,
    run,
    write_csv,
    write_data,
    write_parquet,
    write_schema,
)

GOOD = event_rows((10, 1, 50, 0, 1), (10, 2, 150, 1, 1), (11, 3, 160, 1, 1))
LENIENT = SplitConfig(*(SPLIT.train_start_ms, SPLIT.eval_start_ms, SPLIT.test_start_ms, SPLIT.end_ms), 0, 1.0)


def letter(letters: list[dict[str, Any]], row: int) -> tuple[str, str, str]:
    (found,) = [one for one in letters if one["row"] == row]
    return found["reason"], found["column"], found["value"]


def test_every_bad_csv_event_is_kept_with_place_and_reason(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", GOOD)
    (data / "events" / "part-0.parquet").unlink()
    lines = [
        "user,item,time,click,seen,play,stars,mood,page",
        "10,1,50,0,1,0.5,3,fine,1",  # 1: good
        ",1,51,0,1,0.5,3,fine,1",
        "10,,52,0,1,0.5,3,fine,1",
        "ten,1,53,0,1,0.5,3,fine,1",
        "10,-1,54,0,1,0.5,3,fine,1",  # 5
        "10,1,noon,0,1,0.5,3,fine,1",
        "10,1,,0,1,0.5,3,fine,1",
        "10,1,400,0,1,0.5,3,fine,1",
        "10,1,57,2,1,0.5,3,fine,1",
        "10,1,58,,1,0.5,3,fine,1",  # 10
        "10,1,59,0,maybe,0.5,3,fine,1",
        "10,1,60,0,1,much,3,fine,1",
        "10,1,61,0,1,0.5,3.7,fine,1",
        "10,9,62,0,1,0.5,3,fine,1",
        "10,1,50,1,1,0.5,3,fine,1",  # 15
        "10,1,63",
        "10,1,99999999999999999999,0,1,0.5,3,fine,1",
        "10,2,150,1,1,,,,",  # 18: good, features missing
    ]
    (data / "events" / "day.csv").write_text("\n".join(lines) + "\n")
    report = run(data, write_schema(tmp_path / "schema"), tmp_path / "out", LENIENT)
    letters = [one for one in read_letters(tmp_path / "out") if one["table"] == "events"]
    assert {Path(one["file"]).name for one in letters} == {"day.csv"}
    assert [letter(letters, row) for row in range(2, 18)] == [
        ("null_id", "user", ""),
        ("null_id", "item", ""),
        ("garbage_id", "user", "ten"),
        ("garbage_id", "item", "-1"),
        ("unparsable_time", "time", "noon"),
        ("unparsable_time", "time", ""),
        ("future_time", "time", "400"),
        ("unknown_label", "click", "2"),
        ("unknown_label", "click", ""),
        ("unknown_behaviour", "seen", "maybe"),
        ("bad_value", "play", "much"),
        ("bad_value", "stars", "3.7"),
        ("item_not_in_catalog", "item", "9"),
        ("duplicate_event", "time", "50 (user 10, item key 1)"),
        ("malformed_row", "", "10,1,63"),
        ("unparsable_time", "time", "99999999999999999999"),
    ]
    assert report.events["read"] == 18
    assert report.events["dead_letters"] == 16
    (example,) = read_examples(tmp_path / "out" / "examples" / "Split-train")
    assert example["history/timestamp"] == [50, 150]


def test_null_and_garbage_string_ids(tmp_path: Path) -> None:
    events = EVENTS.replace('"user" type: INT', '"user" type: BYTES')
    log = event_rows(*((name, 1, 150 + i, 0, 1) for i, name in enumerate(["ann", None, "  ", "a\x00b", "x" * 600])))
    write_data(tmp_path / "data", log, users=None)
    run(tmp_path / "data", write_schema(tmp_path / "schema", events, users=None), tmp_path / "out", LENIENT)
    reasons = [one["reason"] for one in read_letters(tmp_path / "out")]
    assert reasons == ["null_id", "null_id", "garbage_id", "garbage_id"]


def test_bad_items_and_users(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", GOOD)
    write_csv(
        data / "items" / "a.csv",
        {
            "item": [1, 2, 1, "", "x", 3],
            "author": [7, 8, 9, 1, 1, 1],
            "topics": [["a"]] * 6,
            "size": [1, 2, 3, 4, 5, "big"],
        },
    )
    (data / "items.parquet").unlink()
    users = {name: [*values, values[0]] for name, values in USER_ROWS.items()}
    write_parquet(data / "users.parquet", users | {"user": [10, 11, 10]})
    report = run(data, write_schema(tmp_path / "schema"), tmp_path / "out", LENIENT)
    found = [(one["table"], one["row"], one["reason"], one["column"]) for one in read_letters(tmp_path / "out")]
    assert found == [
        ("events", 3, "item_not_in_catalog", "item"),  # its item's size is bad
        ("items", 3, "duplicate_item", "item"),
        ("items", 4, "null_id", "item"),
        ("items", 5, "garbage_id", "item"),
        ("items", 6, "bad_value", "size"),
        ("users", 3, "duplicate_user", "user"),
    ]
    assert (report.items["read"], report.items["catalog"]) == (6, 2)
    first = read_examples(tmp_path / "out" / "catalog" / "Split-catalog")[0]
    assert (first["author"], first["topics"]) == ([7], [b"a"])


def test_item_ids_that_hash_to_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"x": 5, "y": 5, "z": 6}
    monkeypatch.setattr(parsing, "item_key", keys.__getitem__)
    events = EVENTS.replace('"item" type: INT', '"item" type: BYTES')
    schema = write_schema(tmp_path / "schema", events, ITEMS.replace('"item" type: INT', '"item" type: BYTES'), None)
    log = event_rows((10, "x", 150, 1, 1))
    write_data(tmp_path / "data", log, dict(ITEM_ROWS) | {"item": ["x", "y", "z"]}, None)
    run(tmp_path / "data", schema, tmp_path / "out", LENIENT)
    (one,) = read_letters(tmp_path / "out")
    assert (one["reason"], one["row"], one["value"]) == ("item_key_collision", 2, "y (as x)")
    assert model_schema.item_key is not parsing.item_key


def test_too_many_dead_letters_stop_the_job_and_say_why(tmp_path: Path) -> None:
    rows = [(10, 1, 100 + i, 0, 1) for i in range(18)] + [(10, 9, 150, 0, 1), (10, 1, 160, 7, 1)]
    data = write_data(tmp_path / "data", event_rows(*rows))
    schema = write_schema(tmp_path / "schema")
    with pytest.raises(UserError) as error:
        run(data, schema, tmp_path / "out")
    text = str(error.value)
    assert "2 of 20 rows of the events table are unusable (10.0%, allowed 5.0%)" in text
    assert "part-0.parquet: row 19, column 'item': got '9'" in text
    assert "part-0.parquet: row 20, column 'click': got '7'" in text
    assert [one["row"] for one in read_letters(tmp_path / "out")] == [19, 20], "the dead letters stay for reading"
    assert not (tmp_path / "out" / "report.json").exists()
    assert not (tmp_path / "out" / "examples").exists()
    report = run(data, schema, tmp_path / "out", LENIENT)
    assert report.events["dead_letters"] == 2


def test_one_empty_file_among_others_is_counted(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", GOOD)
    (data / "events" / "empty.parquet").touch()
    run(data, write_schema(tmp_path / "schema"), tmp_path / "out")
    (empty,) = read_report(tmp_path / "out")["empty_files"]
    assert empty.endswith("empty.parquet")


def test_only_empty_files_are_an_error(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", GOOD)
    (data / "events" / "part-0.parquet").write_bytes(b"")
    (data / "events" / "head.csv").write_text(",".join(GOOD) + "\n")
    with pytest.raises(UserError, match=r"the events table has no rows.*head\.csv.*part-0\.parquet"):
        run(data, write_schema(tmp_path / "schema"), tmp_path / "out")


def test_nothing_in_the_split_is_an_error(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", GOOD)
    with pytest.raises(UserError, match=r"no event lies in the target ranges.*3 lie before train_start_ms"):
        run(data, write_schema(tmp_path / "schema"), tmp_path / "out", SplitConfig(1000, 2000, 3000, 4000))


def test_damage_found_by_a_worker_is_a_plain_error(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", GOOD)
    path = data / "events" / "part-0.parquet"
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    with pytest.raises(RawDataError, match=r"part-0\.parquet: row group 0 is damaged") as error:
        run(data, write_schema(tmp_path / "schema"), tmp_path / "out")
    assert "while running" not in str(error.value)
    assert not list(tmp_path.glob("out/*")), "nothing is left behind"


def test_a_sink_that_writes_nothing_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_data(tmp_path / "data", GOOD)

    def swallow(sink: job_files.WriteToTFRecord, examples: job.beam.PCollection) -> job.beam.PCollection:
        return examples | job.beam.FlatMap(lambda _: []).with_output_types(str)

    monkeypatch.setattr(job_files.WriteToTFRecord, "expand", swallow)
    with pytest.raises(CountMismatchError, match="examples made for train: 2, but records in its files: 0"):
        run(data, write_schema(tmp_path / "schema"), tmp_path / "out")
    assert not (tmp_path / "out" / "report.json").exists()


def test_lookups_that_get_lost_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "add_lookups", lambda parts: (np.zeros(0, np.int64), np.zeros(0, np.int64)))
    with pytest.raises(CountMismatchError, match="item lookups in train"):
        run(write_data(tmp_path / "data", GOOD), write_schema(tmp_path / "schema"), tmp_path / "out")


def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", GOOD)
    write_schema(tmp_path / "schema")
    program = (
        "import os, signal, sys\n"
        "from pipelines.preprocess import job\n"
        "from tests.preprocess_support import run, load_schema\n"
        "from pathlib import Path\n"
        "job._check_written = lambda *args: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"run(Path({str(data)!r}), load_schema({str(tmp_path / 'schema')!r}), Path({str(tmp_path / 'out')!r}))\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[1], capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()[-2000:]
    paths = OutputPaths.under(tmp_path / "out")
    assert not any(Path(path).exists() for path in (paths.examples, paths.catalog, paths.dead_letters, paths.report))
    run(data, write_schema(tmp_path / "schema"), tmp_path / "out")
    assert len(read_examples(tmp_path / "out" / "examples" / "Split-train")) == 2


def test_report_names_the_first_letter_of_each_reason(tmp_path: Path) -> None:
    rows = [(10, 9, 150, 0, 1), (10, 1, 150, 1, 1), (10, 8, 151, 0, 1)]
    run(write_data(tmp_path / "data", event_rows(*rows)), write_schema(tmp_path / "schema"), tmp_path / "out", LENIENT)
    (summary,) = json.loads((tmp_path / "out" / "report.json").read_text())["dead_letters"]
    assert (summary["reason"], summary["count"]) == (Reason.ITEM_NOT_IN_CATALOG.value, 2)
    assert (summary["first"]["row"], summary["first"]["value"]) == (1, "9")


def test_an_empty_train_split_is_named(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", GOOD)
    with pytest.raises(UserError, match=r"the train split is empty: no event lies in its range \[100, 120\) ms"):
        run(data, write_schema(tmp_path / "schema"), tmp_path / "out", SplitConfig(100, 120, 300, 400))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_joined_integers(tmp_path: Path, kind: str) -> None:
    items = ITEMS.replace('"topics" type: BYTES', '"topics" type: INT')
    schema = write_schema(tmp_path / "schema", items=items, users=None)
    topics = ["4| 3", "", "abc|3", "5|", "x"] + (["6"] if kind == "csv" else [None])
    rows = {"item": range(1, 7), "author": [1] * 6, "topics": topics, "size": [1.0] * 6}
    data = write_data(tmp_path / "data", event_rows((10, 1, 150, 0, 1)), users=None)
    (data / "items.parquet").unlink()
    if kind == "csv":
        lines = [f"{i},1,{text},1.0" for i, text in zip(range(1, 7), topics, strict=True)]
        (data / "items.csv").write_text("\n".join(["item,author,topics,size", *lines]) + "\n")
    else:
        write_parquet(data / "items.parquet", rows)
    run(data, schema, tmp_path / "out", LENIENT)
    found = [(one["row"], one["reason"], one["column"], one["value"]) for one in read_letters(tmp_path / "out")]
    assert found == [(3, "bad_value", "topics", "abc|3"), (5, "bad_value", "topics", "x")]
    examples = read_examples(tmp_path / "out" / "catalog" / "Split-catalog")
    by_item = {one["item_id"][0]: one.get("topics") or [] for one in examples}
    assert by_item == {1: [4, 3], 2: [], 4: [5], 6: [6] if kind == "csv" else []}
