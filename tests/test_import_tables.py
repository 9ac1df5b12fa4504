import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.errors import UserError
from pipelines.commands.import_data import parse_starts
from pipelines.dataset_folder import ShardWriter, TimeSplit
from pipelines.importers.tables import import_tables
from pipelines.importers.times import sample_times

SCHEMA = {
    "events": """
feature { name: "user" type: BYTES annotation { tag: "id" } }
feature { name: "item" type: INT annotation { tag: "id" } }
feature { name: "time" type: INT annotation { tag: "timestamp" } }
feature { name: "clicked" type: INT annotation { tag: "label" } }
feature { name: "seconds" type: FLOAT annotation { tag: "cross" } }
""",
    "items": """
feature { name: "item" type: INT annotation { tag: "id" } }
feature { name: "topics" type: BYTES value_count { max: 0 } annotation { tag: "inherent" } }
""",
}
EVENTS = pd.DataFrame(
    {
        "user": list("aabbccddee"),
        "item": range(10),
        "time": range(1_000, 11_000, 1_000),
        "clicked": [0, 1] * 5,
        "seconds": np.arange(10) / 2,
    }
)
ITEMS = pd.DataFrame({"item": range(10), "topics": ["x|y"] * 10})
SHARES: dict[str, Any] = {"target_share": 0.5, "eval_share": 0.1, "test_share": 0.2}


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    folder = tmp_path / "schema"
    folder.mkdir()
    for name, text in SCHEMA.items():
        (folder / f"{name}.pbtxt").write_text(text)
    return folder


def write_source(folder: Path, events: pd.DataFrame = EVENTS) -> Path:
    (folder / "events").mkdir(parents=True)
    events.iloc[:5].to_parquet(folder / "events" / "b.parquet")
    events.iloc[5:].to_csv(folder / "events" / "a.csv", index=False)
    ITEMS.to_csv(folder / "items.csv", index=False)
    return folder


def test_files_are_copied_and_the_split_follows_the_shares(tmp_path: Path, schema: Path) -> None:
    source = write_source(tmp_path / "source")
    report = import_tables(source, schema, tmp_path / "out", **SHARES)
    assert report.rows == {"events": 10, "items": 10}
    # Times 1000 ... 11000 in steps of 1000: 5 targets, of these 1 eval and 2 test.
    assert report.split == TimeSplit(6_000, 8_000, 9_000, 10_001)
    csv, parquet = sorted((tmp_path / "out" / "events").iterdir())
    assert csv.read_bytes() == (source / "events" / "a.csv").read_bytes()
    assert parquet.read_bytes() == (source / "events" / "b.parquet").read_bytes()
    content = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert content["schema"] == str(schema.resolve()) and content["oracle"] is None


def test_explicit_starts(tmp_path: Path, schema: Path) -> None:
    source = write_source(tmp_path / "source")
    report = import_tables(source, schema, tmp_path / "out", starts_ms=(2_000, 3_000, 4_000))
    assert report.split == TimeSplit(2_000, 3_000, 4_000, 10_001)
    with pytest.raises(UserError, match=r"in order.*\(3000, 2000, 4000"):
        import_tables(source, schema, tmp_path / "other", starts_ms=(3_000, 2_000, 4_000))


@pytest.mark.parametrize("held", ["raw", "schema"])
def test_what_is_read_is_not_overwritten(held: str, tmp_path: Path, schema: Path) -> None:
    out = tmp_path / "mine"
    source = write_source((out if held == "raw" else tmp_path) / "raw")
    schema = schema if held == "raw" else schema.rename(write_source(out / "x").parent / "schema")
    (out / "dataset.json").write_text("{}")
    with pytest.raises(UserError, match=f"mine is replaced as a whole and holds .*{held}, which is read"):
        import_tables(source, schema, out, **SHARES, overwrite=True)
    assert (out / held).is_dir()


def test_starts_option() -> None:
    hour = 3_600_000
    assert parse_starts("1970-01-02, 1970-01-02T01:00,1970-01-02T01:00+01:00") == (24 * hour, 25 * hour, 24 * hour)
    assert parse_starts("1600000000000,1600000000001,1600000000002") == (
        1_600_000_000_000, 1_600_000_000_001, 1_600_000_000_002
    )  # fmt: skip
    for text in ("2024-01-01", "2024-01-01,soon,2024-02-01"):
        with pytest.raises(UserError, match="three dates"):
            parse_starts(text)


def test_single_bad_cells_are_left_to_preprocessing(tmp_path: Path, schema: Path) -> None:
    events = EVENTS.astype({"time": object, "item": object})
    events.loc[7, "time"] = "soon"
    events.loc[8, "item"] = "?"
    source = tmp_path / "source"
    source.mkdir()
    events.to_csv(source / "events.csv", index=False)
    ITEMS.to_csv(source / "items.csv", index=False)
    report = import_tables(source, schema, tmp_path / "out", **SHARES)
    assert report.rows["events"] == 10
    assert report.split.end_ms == 10_001


def test_missing_column(tmp_path: Path, schema: Path) -> None:
    source = write_source(tmp_path / "source", EVENTS.drop(columns="seconds"))
    with pytest.raises(UserError, match=r"events/a\.csv: column 'seconds'.*missing"):
        import_tables(source, schema, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_type_in_parquet_and_csv(tmp_path: Path, schema: Path) -> None:
    wrong = EVENTS.assign(seconds=["long"] * 10)
    source = write_source(tmp_path / "source", wrong)
    with pytest.raises(UserError, match=r"events/b\.parquet: column 'seconds'.*string"):
        import_tables(source, schema, tmp_path / "out")
    (source / "events" / "b.parquet").unlink()
    with pytest.raises(UserError, match=r"events/a\.csv: column 'seconds': expected float32, got 'long'"):
        import_tables(source, schema, tmp_path / "out")


def test_missing_and_empty_tables(tmp_path: Path, schema: Path) -> None:
    source = write_source(tmp_path / "source")
    (source / "items.csv").write_text("")
    with pytest.raises(UserError, match=r"table 'items' has no rows.*items\.csv"):
        import_tables(source, schema, tmp_path / "out")
    (source / "items.csv").unlink()
    with pytest.raises(UserError, match="no items table"):
        import_tables(source, schema, tmp_path / "out")


def test_sampled_times_keep_shares_and_the_last_time(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "events", rows_per_shard=1_000) as writer:
        for start in range(0, 5_000, 500):
            writer.write(pa.table({"time": np.arange(start, start + 500)}))
    files = sorted((tmp_path / "events").iterdir())
    assert len(files) == 5
    times = sample_times(files, "time", limit=700)
    assert len(times.sample_ms) <= 701 and times.last_ms == 4_999
    assert TimeSplit.by_share(times.sample_ms, 0.5, 0.1, 0.1).train_start_ms == pytest.approx(2_500, abs=20)


def test_timestamp_columns_count_in_milliseconds(tmp_path: Path) -> None:
    file = tmp_path / "events.parquet"
    pq.write_table(pa.table({"time": pa.array([0, 1_000_001], pa.timestamp("us"))}), file)
    assert sample_times([file], "time").sample_ms.tolist() == [0, 1_000]


DAY = 86_400_000
NOW_LIKE = 1_600_000_000_000  # 2020-09-13


def write_times(folder: Path, times: list[int]) -> Path:
    return write_source(folder, EVENTS.assign(time=times))


@pytest.mark.parametrize(
    ("divisor", "told"), [(1, None), (1_000, "looks like seconds: as such it is 2020-09-1"), (1e9, "is 1970-01-01")]
)
def test_times_that_are_no_milliseconds_are_told(
    tmp_path: Path, schema: Path, capsys: pytest.CaptureFixture[str], divisor: float, told: str | None
) -> None:
    source = write_times(tmp_path / "source", [int((NOW_LIKE + i * DAY) / divisor) + i for i in range(10)])
    import_tables(source, schema, tmp_path / "out", **SHARES)
    warning = capsys.readouterr().err
    assert warning == "" if told is None else told in warning and "column 'time'" in warning


def test_microseconds_are_refused(tmp_path: Path, schema: Path) -> None:
    source = write_times(tmp_path / "source", [(NOW_LIKE + i) * 1_000 for i in range(10)])
    with pytest.raises(UserError, match=r"column 'time': no event has a usable time.*looks like microseconds"):
        import_tables(source, schema, tmp_path / "out")


def test_an_event_in_the_future_does_not_move_the_end(
    tmp_path: Path, schema: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = [NOW_LIKE + i for i in range(10)]
    times[2] = times[7] = 4_000_000_000_000  # 2096
    report = import_tables(write_times(tmp_path / "source", times), schema, tmp_path / "out", **SHARES)
    assert report.split.end_ms == NOW_LIKE + 10
    assert "2 events lie more than a day in the future, the first at 4000000000000" in capsys.readouterr().err


def test_empty_splits_are_told(tmp_path: Path, schema: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_times(tmp_path / "source", [NOW_LIKE + i * DAY for i in range(10)])
    day = [NOW_LIKE + i * DAY for i in range(11)]
    import_tables(source, schema, tmp_path / "out", starts_ms=(day[1], day[8], day[8]))
    warning = capsys.readouterr().err
    assert "eval split is empty: no event from 2020-09-21 12:26:40 to before 2020-09-21 12:26:40" in warning
    assert "test" not in warning.split("empty")[0]
    with pytest.raises(UserError, match="the train split is empty: no event from 2020-09-14 12:26:40"):
        import_tables(source, schema, tmp_path / "other", starts_ms=(day[1], day[1], day[8]))


def test_a_cell_that_is_not_utf8_is_left_to_preprocessing(tmp_path: Path, schema: Path) -> None:
    source = write_source(tmp_path / "source")
    path = source / "events" / "a.csv"
    path.write_bytes(path.read_bytes().replace(b"\ne,8,9000", b"\n\xe9,8,9000").replace(b"7,8000", b"7,\xe9"))
    assert b"\xe9,8" in path.read_bytes() and b",7,\xe9" in path.read_bytes()
    assert import_tables(source, schema, tmp_path / "out", **SHARES).rows["events"] == 10


@pytest.mark.parametrize("name", ["target_share", "eval_share", "test_share"])
def test_a_share_that_is_no_number(tmp_path: Path, schema: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*nan"):
        import_tables(write_source(tmp_path / "source"), schema, tmp_path / "out", **SHARES | {name: float("nan")})


def test_an_output_below_a_file(tmp_path: Path, schema: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/out cannot be created: Not a directory"):
        import_tables(write_source(tmp_path / "source"), schema, tmp_path / "file" / "out", **SHARES)
