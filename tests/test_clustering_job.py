"""The Beam job over a split's training Examples: all of it, once, the same whatever the worker."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from apache_beam.io.tfrecordio import WriteToTFRecord

from model.errors import UserError
from model.feature import Feature, Role
from pipelines.beam_options import beam_options
from pipelines.clustering.example_columns import ExampleError
from pipelines.clustering.job import cluster_examples
from pipelines.clustering.report import ClusterReport
from pipelines.clustering.vectors import VectorsError, save_vectors
from pipelines.preprocess.report import CountMismatchError
from tests.clustering_support import CONFIG, SCHEMA, entries, example_of, random_life, random_vectors, schema_with
from tests.preprocess_support import read_examples

VECTORS = random_vectors(20)


def records(users: int = 6) -> list[bytes]:
    made = []
    for user in range(users):
        rng = np.random.default_rng(user)
        life = random_life(rng, 40 * user, 23, 1000, VECTORS)
        made.append(example_of(life, np.sort(rng.integers(500, 1000, 10)).tolist(), f"user-{user}".encode()))
    return made


def write_records(folder: Path, parts: list[list[bytes]]) -> Path:
    folder.mkdir(parents=True)
    for i, part in enumerate(parts):
        with tf.io.TFRecordWriter(str(folder / f"data-{i}.gz"), tf.io.TFRecordOptions(compression_type="GZIP")) as file:
            for record in part:
                file.write(record)
    return folder


def run(examples: Path, out: Path, schema: Any = SCHEMA) -> ClusterReport:
    if not (out / "vectors").exists():
        save_vectors(VECTORS, out / "vectors")
    report = str(out / "report.json")
    pattern, target = str(examples / "*.gz"), str(out / "Split-train")
    return cluster_examples(pattern, out / "vectors", schema, CONFIG, target, report, beam_options())


def test_counts_reconcile_with_what_lies_in_the_files(tmp_path: Path) -> None:
    source = write_records(tmp_path / "in", [records()])
    report = run(source, tmp_path / "out")
    rows = read_examples(tmp_path / "out" / "Split-train")
    sizes = [size for row in rows for size in row["history/cluster_size"] or []]
    assert report.users == 6
    assert report.targets == 60 == sum(len(row["target/item_id"]) for row in rows)
    assert report.examples == len(rows) > 6
    assert report.behaviours == sum(sizes) == report.clustered + report.singles
    assert report.clusters + report.singles == len(sizes)
    assert report.max_size == max(sizes) == CONFIG.max_cluster_size
    assert report.compression == round(report.clusters / report.clustered, 4)
    assert report.mean_size == round(report.clustered / report.clusters, 3)
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content == dataclasses.asdict(report)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Split-train", "report.json", "vectors"]
    assert all(path.name.startswith("data_tfrecord-") for path in (tmp_path / "out" / "Split-train").iterdir())


def test_neither_files_nor_other_users_change_a_user(tmp_path: Path) -> None:
    together, apart = records(), [[record] for record in records()[::-1] if b"user-3" in record or b"user-5" in record]
    run(write_records(tmp_path / "in", [together]), tmp_path / "one")
    run(write_records(tmp_path / "in2", apart), tmp_path / "two")

    def of_two(out: Path) -> list[dict[str, Any]]:
        rows = [r for r in read_examples(out / "Split-train") if r["user_id"][0] in (b"user-3", b"user-5")]
        return sorted(rows, key=lambda row: (row["user_id"], row["target/item_id"]))

    first, second = of_two(tmp_path / "one"), of_two(tmp_path / "two")
    assert len(first) > 2
    assert repr(first) == repr(second)  # NaN is like NaN in a repr alone


def test_a_finished_run_is_not_written_over(tmp_path: Path) -> None:
    source = write_records(tmp_path / "in", [records(2)])
    run(source, tmp_path / "out")
    with pytest.raises(UserError, match=r"report.json exists: a finished run; choose another output folder"):
        run(source, tmp_path / "out")


def test_a_sink_that_writes_nothing_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import apache_beam as beam

    source = write_records(tmp_path / "in", [records(3)])
    monkeypatch.setattr(
        WriteToTFRecord, "expand", lambda sink, rows: rows | beam.FlatMap(lambda _: []).with_output_types(str)
    )
    with pytest.raises(CountMismatchError, match="targets made: 30, but in their files: 0; nothing was published"):
        run(source, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["vectors"]


def test_no_files_no_vectors_and_no_durations_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\*\.gz: no such files"):
        run(tmp_path / "nothing", tmp_path / "out")
    source = write_records(tmp_path / "in", [records(1)])
    report, target = str(tmp_path / "r.json"), str(tmp_path / "o")
    with pytest.raises(VectorsError, match="no item vectors"):
        cluster_examples(str(source / "*"), tmp_path / "none", SCHEMA, CONFIG, target, report, beam_options())
    timed = schema_with(duration=Feature("duration_seconds", Role.INHERENT, "float32"))
    with pytest.raises(VectorsError, match=r"no duration.npy, which schema 'simulated' needs.*'duration_seconds'"):
        run(source, tmp_path / "timed", timed)


def test_a_workers_complaint_is_a_plain_error(tmp_path: Path) -> None:
    broken = example_of(entries([1, 1], [3, 2]), [5], b"someone")
    source = write_records(tmp_path / "in", [[broken]])
    with pytest.raises(ExampleError) as caught:
        run(source, tmp_path / "out")
    assert str(caught.value).startswith("user 'someone': expected history/timestamp to ascend")
    assert "while running" not in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["vectors"]
