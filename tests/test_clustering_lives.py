"""Whole lives through Beam: raw events or Examples in, one clustered history a user out, run after run."""

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import UserError
from model.schema import DatasetSchema
from pipelines.beam_options import beam_options
from pipelines.clustering.example_columns import ExampleError
from pipelines.clustering.life_job import LifeSource, cluster_lives
from pipelines.clustering.life_report import LifeReport
from pipelines.clustering.life_steps import SpillStates
from pipelines.clustering.state import NOTHING_CLUSTERED
from pipelines.clustering.vectors import save_vectors
from pipelines.examples import encode_example
from pipelines.readers import RawDataError
from tests.clustering_support import CONFIG, SCHEMA, entries, example_of, random_vectors
from tests.preprocess_support import read_examples, read_letters, write_parquet
from tests.test_clustering_job import write_records

ITEMS = 20
VECTORS = random_vectors(ITEMS)


def events(users: int = 4, first: int = 0, last: int = 1000) -> dict[str, list[Any]]:
    """User u has 30 u events with times below 1000, one in ten no behaviour; items above 20 are unknown."""
    columns: dict[str, list[Any]] = {f.name: [] for f in SCHEMA.columns("events")}
    for user in range(1, users + 1):
        rng = np.random.default_rng(user)
        n = 30 * user
        times = np.sort(rng.choice(1000, n, replace=False))
        values = {
            "user_id": [user] * n,
            "item_id": rng.integers(1, ITEMS + 4, n).tolist(),
            "timestamp": times.tolist(),
            "click": rng.integers(0, 2, n).tolist(),
            "is_behaviour": (rng.random(n) < 0.9).astype(int).tolist(),
            "play_seconds": rng.uniform(0, 9, n).tolist(),
            "completion": rng.choice([0.1, 0.6, 2.0, np.nan], n).tolist(),
            "liked": rng.integers(0, 2, n).tolist(),
            "page_position": rng.integers(0, 5, n).tolist(),
        }
        keep = (times >= first) & (times < last)
        for name, column in values.items():
            columns[name] += [value for value, kept in zip(column, keep, strict=True) if kept]
    return columns


def tables(folder: Path, rows: dict[str, list[Any]]) -> Path:
    half = len(rows["user_id"]) // 2
    for i, part in enumerate((slice(0, half), slice(half, None))):
        write_parquet(folder / "events" / f"part-{i}.parquet", {name: column[part] for name, column in rows.items()})
    return folder


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors") / "v"
    save_vectors(VECTORS, folder)
    return folder


def run(source: LifeSource, vectors: Path, out: Path, previous: Path | None = None) -> LifeReport:
    earlier = None if previous is None else str(previous)
    return cluster_lives(source, vectors, SCHEMA, CONFIG, str(out), beam_options(), earlier)


def from_tables(folder: Path, rows: dict[str, list[Any]]) -> LifeSource:
    return LifeSource(data=str(tables(folder, rows)))


def test_whole_lives_then_what_came_since(tmp_path: Path, vectors: Path) -> None:
    first = run(from_tables(tmp_path / "a", events(last=700)), vectors, tmp_path / "1")
    rows = events()
    behaviours = sum(rows["is_behaviour"])
    since = events(first=700)
    second = run(from_tables(tmp_path / "b", since), vectors, tmp_path / "2", tmp_path / "1")
    assert first.read == first.new + first.non_behaviours
    assert second.earlier == first.behaviours
    assert second.new == sum(since["is_behaviour"])
    assert second.behaviours == behaviours == first.behaviours + second.new
    full = run(from_tables(tmp_path / "c", rows), vectors, tmp_path / "3")
    again = run(from_tables(tmp_path / "d", rows), vectors, tmp_path / "4", tmp_path / "1")
    assert full.behaviours == again.behaviours == behaviours
    assert again.already_clustered + again.already_single == first.behaviours
    assert again.new == second.new
    # The events since then alone, or all of them: the same.
    assert repr(read_examples(tmp_path / "2" / "lives")) == repr(read_examples(tmp_path / "4" / "lives"))
    assert json.loads((tmp_path / "2" / "report.json").read_text())["new"] == second.new
    assert sorted(path.name for path in (tmp_path / "2").iterdir()) == ["dead_letters", "lives", "report.json"]


def test_what_a_request_takes(tmp_path: Path, vectors: Path) -> None:
    rows = events()
    report = run(from_tables(tmp_path / "a", rows), vectors, tmp_path / "out")
    lives = read_examples(tmp_path / "out" / "lives")
    assert [life["user_id"] for life in lives] == [[b"1"], [b"2"], [b"3"], [b"4"]]
    assert report.users == 4
    for life in lives:
        user = int(life["user_id"][0])
        mine = [i for i, u in enumerate(rows["user_id"]) if u == user and rows["is_behaviour"][i]]
        n = len(life["history/item_id"])
        names = {"item_id", "timestamp", "cluster_size", "cluster_group", "play_seconds", "completion", "liked"}
        assert set(life) == {"user_id", "clustered_through_ms"} | {f"history/{name}" for name in names}
        assert {len(life[f"history/{name}"]) for name in names} == {n}
        assert sum(life["history/cluster_size"]) == len(mine)
        newest = CONFIG.short_term_length
        assert life["history/cluster_size"][-newest:] == [1] * newest
        assert life["history/item_id"][-newest:] == [rows["item_id"][i] for i in mine[-newest:]]
        assert life["clustered_through_ms"] == [rows["timestamp"][mine[-newest - 1]]]
        assert max(life["history/cluster_size"]) <= CONFIG.max_cluster_size


def test_users_without_new_events_are_carried_over(tmp_path: Path, vectors: Path) -> None:
    run(from_tables(tmp_path / "a", events(users=3)), vectors, tmp_path / "1")
    fourth = {name: values[-120:] for name, values in events(users=4).items()}
    report = run(from_tables(tmp_path / "b", fourth), vectors, tmp_path / "2", tmp_path / "1")
    assert (report.users, report.carried_over) == (4, 3)
    before, after = (read_examples(tmp_path / run_ / "lives") for run_ in ("1", "2"))
    assert repr(before) == repr(after[:3])


def test_examples_bring_the_same_lives(tmp_path: Path, vectors: Path) -> None:
    rows = events(users=2)
    made: list[list[bytes]] = [[], []]
    for user in (1, 2):
        mine = [i for i, u in enumerate(rows["user_id"]) if u == user and rows["is_behaviour"][i]]
        life = entries(
            [rows["item_id"][i] for i in mine],
            [rows["timestamp"][i] for i in mine],
            [rows["completion"][i] for i in mine],
            play=[rows["play_seconds"][i] for i in mine],
            liked=[rows["liked"][i] for i in mine],
        )
        made[0].append(example_of(life.slice(0, 15), [500], str(user).encode()))
        made[1].append(example_of(life, [1000], str(user).encode()))
    write_records(tmp_path / "examples" / "Split-train", made[:1])
    write_records(tmp_path / "examples" / "Split-test", made[1:])
    report = run(LifeSource(examples=str(tmp_path / "examples")), vectors, tmp_path / "1")
    assert report.duplicates == 30  # what both splits have
    run(from_tables(tmp_path / "tables", rows), vectors, tmp_path / "2")
    assert repr(read_examples(tmp_path / "1" / "lives")) == repr(read_examples(tmp_path / "2" / "lives"))


def test_users_without_behaviours_have_no_record_and_short_lives_no_cluster(tmp_path: Path, vectors: Path) -> None:
    records = [example_of(entries([], []), [5], b"none"), example_of(entries([1, 99], [1, 2]), [5], b"short")]
    write_records(tmp_path / "in", [records])
    report = run(LifeSource(examples=str(tmp_path / "in")), vectors, tmp_path / "out")
    assert (report.users, report.clusters, report.singles, report.compression) == (1, 0, 2, None)
    (life,) = read_examples(tmp_path / "out" / "lives")
    assert (life["history/item_id"], life["clustered_through_ms"]) == ([1, 99], [NOTHING_CLUSTERED])
    later = [example_of(entries([1] * 9, range(3, 12)), [20], b"short")]
    write_records(tmp_path / "in2", [later])
    second = run(LifeSource(examples=str(tmp_path / "in2")), vectors, tmp_path / "out2", tmp_path / "out")
    assert (second.behaviours, second.singles) == (11, CONFIG.short_term_length)


def test_unusable_events_are_kept_apart_and_too_many_stop_the_job(tmp_path: Path, vectors: Path) -> None:
    rows = events()
    rows["timestamp"][0] = None
    report = run(from_tables(tmp_path / "a", rows), vectors, tmp_path / "out")
    assert report.dead_letters_by_reason == {"unparsable_time": 1}
    assert report.read == len(rows["user_id"]) == report.new + report.non_behaviours + 1
    (letter,) = read_letters(tmp_path / "out")
    assert (letter["row"], letter["column"], letter["reason"]) == (1, "timestamp", "unparsable_time")
    rows["timestamp"][:100] = [None] * 100
    with pytest.raises(
        UserError, match=r"100 of 300 events are unusable \(33.3%, allowed 5.0%\)(.|\n)*part-0.parquet: row 1"
    ):
        run(from_tables(tmp_path / "b", rows), vectors, tmp_path / "stopped")
    assert sorted(path.name for path in (tmp_path / "stopped").iterdir()) == ["dead_letters"]


def test_an_unfinished_run_is_no_earlier_one(tmp_path: Path, vectors: Path) -> None:
    source = from_tables(tmp_path / "a", events(users=1))
    run(source, vectors, tmp_path / "1")
    (tmp_path / "1" / "report.json").unlink()  # killed while its files were moved: some lives are missing
    with pytest.raises(UserError, match=r"1: expected the folder of a finished run, got one without report.json"):
        run(source, vectors, tmp_path / "2", tmp_path / "1")


def test_memory_follows_what_the_earlier_run_holds_too(
    tmp_path: Path, vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(from_tables(tmp_path / "a", events()), vectors, tmp_path / "1")
    bytes_ = sum(file.stat().st_size for file in (tmp_path / "1" / "lives").iterdir())
    partitions: list[int] = []

    def step(schema: DatasetSchema, spill: str, number: int, clustered: bool) -> SpillStates:
        partitions.append(number)
        return SpillStates(schema, spill, number, clustered)

    monkeypatch.setattr("pipelines.clustering.life_job.SpillStates", step)
    monkeypatch.setattr("pipelines.clustering.life_job.PARTITION_BYTES", bytes_ // 2)
    since = tables(tmp_path / "b", events(users=1, first=990))
    run(LifeSource(data=str(since)), vectors, tmp_path / "2", tmp_path / "1")
    assert partitions == [1 + 8]  # one for the few events; the histories are four times as large as their files


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"no Example", "a record is no tf.Example"),
        (
            encode_example({"item_id": np.array([1]), "frequency": np.array([3])}),
            "user '': feature 'user_id': expected 1 values, got 0",
        ),
    ],
    ids=["garbage", "an item's Example"],
)
def test_records_of_another_kind_are_refused(record: bytes, message: str, tmp_path: Path, vectors: Path) -> None:
    source = LifeSource(examples=str(write_records(tmp_path / "in", [[record]])))
    with pytest.raises(ExampleError, match=message):
        run(source, vectors, tmp_path / "out")


def test_mistakes_are_named(tmp_path: Path, vectors: Path) -> None:
    source = from_tables(tmp_path / "a", events(users=1))
    run(source, vectors, tmp_path / "out")
    with pytest.raises(UserError, match=r"report.json exists: a finished run"):
        run(source, vectors, tmp_path / "out")
    with pytest.raises(UserError, match=r"nowhere: expected the folder of a finished run"):
        run(source, vectors, tmp_path / "2", tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"nothing: expected per-user Examples: files \*.gz"):
        run(LifeSource(examples=str(tmp_path / "nothing")), vectors, tmp_path / "2")
    with pytest.raises(UserError, match="one of them, got None and None"):
        LifeSource()
    with pytest.raises(RawDataError, match="no events table"):
        run(LifeSource(data=str(tmp_path / "nothing")), vectors, tmp_path / "2")
    clustered = str(tmp_path / "out" / "lives")
    with pytest.raises(ExampleError, match="user '1': the history is clustered already"):
        run(LifeSource(examples=clustered), vectors, tmp_path / "2")
    assert not (tmp_path / "2" / "report.json").exists()


def test_an_earlier_run_must_have_grouped_alike(tmp_path: Path, vectors: Path) -> None:
    source = from_tables(tmp_path / "a", events(users=1))
    run(source, vectors, tmp_path / "1")
    other = dataclasses.replace(CONFIG, completion_groups=CONFIG.completion_groups + 1)
    parts = (CONFIG.completion_groups, other.completion_groups)
    message = (
        r"1/report.json: the earlier run grouped behaviours 'by completion in %d parts', .* completion in %d parts"
    )
    with pytest.raises(UserError, match=message % parts):
        cluster_lives(source, vectors, SCHEMA, other, str(tmp_path / "2"), beam_options(), str(tmp_path / "1"))
    assert not (tmp_path / "2").exists()


@pytest.mark.parametrize(
    "content",
    [b"user_id,item_id", gzip.compress(b"user_id,item_id,timestamp"), gzip.compress(b"1")],
    # gzip writes the time of day: as part of a test's name it differs between the workers that collect it.
    ids=["text", "gzip", "short gzip"],
)
def test_examples_that_are_no_records_are_told(content: bytes, tmp_path: Path, vectors: Path) -> None:
    (tmp_path / "events.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"events.gz: expected a TFRecord file"):
        run(LifeSource(examples=str(tmp_path)), vectors, tmp_path / "out")
