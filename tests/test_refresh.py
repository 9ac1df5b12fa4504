"""A refresh publishes a whole new servable, or nothing; killed at any moment it leaves the published versions whole."""

import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from model.config import TableDtype
from model.export import export
from model.servable_table import TWIN_JSON, read_ids, read_table
from pipelines.beam_options import beam_options
from pipelines.refresh import RefreshError, RefreshReport, refresh
from pipelines.replay_warmups import WARMUP_REQUESTS, ServableCheckError
from serving.publisher import publish, versions
from tests.toy import ENCODERS, ITEM_IDS, KNOWN, NOW, SMALL, toy_ranker, toy_request, toy_schema

ROOT = Path(__file__).resolve().parents[1]
NEW = 5000


def write_catalog(folder: Path, item_id: list[int | None]) -> Path:
    (folder / "items").mkdir(parents=True)
    count = len(item_id)
    topics = [[i % 6, (i + 1) % 6] for i in range(count)]
    table = pa.table(
        {
            "item_id": pa.array(item_id, pa.int64()),
            "author_id": pa.array([500 + i % 10 for i in range(count)]),
            "topics": pa.array(topics, pa.list_(pa.int64())),
            "duration_seconds": pa.array([float(i) for i in range(count)], pa.float32()),
        }
    )
    pq.write_table(table, folder / "items" / "part-0.parquet")
    return folder


def write_warmup(servable: Path) -> None:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = "serving_default"
    for name, value in toy_request(np.random.default_rng(0)).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    with tf.io.TFRecordWriter(str(servable / WARMUP_REQUESTS)) as writer:
        writer.write(log.SerializeToString())


def export_model(model_dir: Path, dtype: TableDtype = "float32") -> Path:
    ranker = toy_ranker(dataclasses.replace(SMALL, table_dtype=dtype))
    export(ranker, toy_schema(), ENCODERS, ITEM_IDS[:KNOWN], 1.0, model_dir / "1")
    write_warmup(model_dir / "1")
    return model_dir


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def model_dir(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "model"))


def run(
    model_dir: Path, catalog: Path, show: Callable[[dict[str, Any]], None] = lambda event: None, **options: float
) -> RefreshReport:
    return refresh(
        versions(model_dir)[max(versions(model_dir))],
        str(catalog),
        toy_schema(),
        beam_options(),
        publish=lambda build: publish(model_dir, build),
        work=model_dir / ".refresh",
        show=show,
        **options,
    )


def signature(servable: Path, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    function = tf.saved_model.load(str(servable)).signatures[name]
    specs = function.structured_input_signature[1]
    outputs = function(**{key: tf.constant(inputs[spec.name]) for key, spec in specs.items()})
    return {key: value.numpy() for key, value in outputs.items()}


def digests(model_dir: Path) -> dict[str, str]:
    return {
        str(file.relative_to(model_dir)): hashlib.sha256(file.read_bytes()).hexdigest()
        for folder in versions(model_dir).values()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_new_items_get_rows_and_are_retrieved(model_dir: Path, tmp_path: Path) -> None:
    request = toy_request(np.random.default_rng(1), users=1, candidates=1, length=3)
    request |= {
        "history/item_id": np.array([[NEW, NEW + 1, int(ITEM_IDS[0])]]),
        "history/length": np.array([3]),
        "history/timestamp": np.array([[NOW - 3000, NOW - 2000, NOW - 1000]]),
    }
    before = signature(model_dir / "1", "explain", request)
    assert set(before["retrieved/item_id"].ravel().tolist()) == {0, int(ITEM_IDS[0])}

    catalog = write_catalog(tmp_path / "data", [*ITEM_IDS[2:].tolist(), NEW, NEW + 1])
    events: list[dict[str, Any]] = []
    report = run(model_dir, catalog, events.append)

    assert (report.version, report.rows_before, report.rows_after) == (2, 40, 40)
    assert (report.new_items, report.removed_items, report.rows_read, report.warmup_requests) == (2, 2, 40, 1)
    # Item 0 left the catalog, so it is unknown now and no longer retrieved.
    after = signature(model_dir / "2", "explain", request)
    assert set(after["retrieved/item_id"].ravel().tolist()) == {0, NEW, NEW + 1}
    assert np.isfinite(after["pctr"]).all()
    finished = [event["component"] for event in events if event["event"] == "finished"]
    assert finished == ["prepare", "project", "assemble", "write", "check", "publish"]
    about = json.loads((model_dir / "2" / TWIN_JSON).read_text())
    assert (about["table_rows"], about["made_from"]) == (41, str(model_dir / "1"))
    assert sorted(p.name for p in (model_dir / ".refresh").iterdir()) == ["dead_letters", "report.json"]


def test_an_item_that_comes_back_finds_its_embedding_again(model_dir: Path, tmp_path: Path) -> None:
    everything = write_catalog(tmp_path / "all", ITEM_IDS.tolist())
    run(model_dir, everything)
    run(model_dir, write_catalog(tmp_path / "few", ITEM_IDS[30:].tolist()))
    run(model_dir, everything)
    second, third, fourth = (read_table(model_dir / str(version)) for version in (2, 3, 4))
    assert len(third.ids) == 11
    np.testing.assert_array_equal(fourth.index["item_id"], second.index["item_id"])
    assert second.index["item_id"].tolist() == [0, *range(1, KNOWN + 1), *[0] * (len(ITEM_IDS) - KNOWN)]
    np.testing.assert_array_equal(fourth.projection, second.projection)


def test_quantised_tables_stay_near_float32(model_dir: Path, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "data", ITEM_IDS.tolist())
    run(model_dir, catalog)
    exact = read_table(model_dir / "2").projection
    largest = np.abs(exact).reshape(-1, SMALL.heads, SMALL.head_dim).max(axis=(0, 2))
    # bfloat16 keeps 8 significant bits; int8 rounds to half a step of 1/127 of the head's largest value.
    limits = {"bfloat16": np.abs(exact) / 256, "int8": np.repeat(largest / 127, SMALL.head_dim) / 2}
    dtypes: tuple[TableDtype, ...] = ("bfloat16", "int8")
    for dtype in dtypes:
        small = export_model(tmp_path / dtype, dtype)
        run(small, catalog)
        rough = read_table(small / "2")
        assert rough.projection.dtype.name == dtype
        stored = rough.projection.astype(np.float32) * np.repeat(rough.scale, SMALL.head_dim)
        assert np.all(np.abs(stored - exact) <= limits[dtype] + 1e-6)
        assert not np.array_equal(stored, exact)


def test_nothing_is_published_when_too_many_rows_are_bad(model_dir: Path, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "data", [1, None, 3, None])
    with pytest.raises(RefreshError, match=r"2 of 4 catalog rows are unusable \(50.0%, allowed 5.0%\)") as caught:
        run(model_dir, catalog)
    first = rf"null_id: 2 rows, first: {catalog}/items/part-0\.parquet: row 2, column 'item_id': got 'null'"
    assert re.search(first, str(caught.value))
    # The message says where they lie, and there they lie.
    assert str(model_dir / ".refresh" / "dead_letters") in str(caught.value)
    assert pq.read_table(model_dir / ".refresh" / "dead_letters").num_rows == 2
    assert list(versions(model_dir)) == [1]
    assert run(model_dir, catalog, max_dead_letter_share=0.5).dead_letters == {"null_id": 2}
    letters = pq.read_table(model_dir / ".refresh" / "dead_letters")
    assert sorted(letters.column("row").to_pylist()) == [2, 4]


def test_a_catalog_without_a_usable_row_is_told_with_the_first_of_them(model_dir: Path, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "data", [None, None])
    with pytest.raises(RefreshError, match=r"2 of 2 catalog rows are unusable(.|\n)*row 1, column 'item_id'"):
        run(model_dir, catalog, max_dead_letter_share=1.0)
    assert list(versions(model_dir)) == [1]


def test_nothing_is_published_when_a_recorded_request_fails(model_dir: Path, tmp_path: Path) -> None:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs["history/item_id"].CopyFrom(tf.make_tensor_proto(np.zeros([1, 2], np.int64)))
    with tf.io.TFRecordWriter(str(model_dir / "1" / WARMUP_REQUESTS)) as writer:
        writer.write(log.SerializeToString())
    with pytest.raises(ServableCheckError, match=r"warm-up request 0 .* fails"):
        run(model_dir, write_catalog(tmp_path / "data", [1, 2]))
    assert sorted(p.name for p in model_dir.iterdir()) == [".publish.lock", ".refresh", "1"]


def test_two_refreshes_at_once_are_refused(model_dir: Path, tmp_path: Path) -> None:
    (model_dir / ".refresh").mkdir()
    descriptor = os.open(model_dir / ".refresh", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(RefreshError, match="another refresh works in"):
            run(model_dir, write_catalog(tmp_path / "data", [1]))
    finally:
        os.close(descriptor)


def command(model_dir: Path, catalog: Path) -> list[str]:
    return [sys.executable, "twin.py", "refresh", "--model-dir", str(model_dir), "--catalog", str(catalog), "--json"]


def test_killed_at_any_moment_the_versions_stay_whole_and_the_next_run_succeeds(
    model_dir: Path, tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path / "data", list(range(1, 3001)))
    before = digests(model_dir)
    for moment in ("project started", "write started", "check started"):
        process = subprocess.Popen(
            command(model_dir, catalog), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        seen = any(moment in line for line in process.stderr)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert seen, f"the refresh ended before {moment!r}"
        assert process.returncode == -signal.SIGKILL
        assert list(versions(model_dir)) == [1]
        assert digests(model_dir) == before

    done = subprocess.run(command(model_dir, catalog), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["version"], report["rows_before"], report["new_items"], report["removed_items"]) == (2, 40, 2960, 0)
    assert read_ids(model_dir / "2")[1:].tolist() == list(range(1, 3001))
    assert sorted(p.name for p in model_dir.iterdir()) == [".publish.lock", ".refresh", "1", "2"]
    assert sorted(p.name for p in (model_dir / ".refresh").iterdir()) == ["dead_letters", "report.json"]


def test_refresh_works_where_tfx_is_not_installed(model_dir: Path, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "data", ITEM_IDS.tolist())
    absent = ["tfx", "tfx_bsl", "ml_metadata", "tensorflow_transform", "tensorflow_data_validation", "dill"]
    absent += ["tensorflow_model_analysis", "tensorflow_recommenders", "sklearn", "nltk", "psutil", "IPython"]
    script = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {absent}:\n"
        "            raise ModuleNotFoundError(name + ' is not installed', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"sys.argv = {command(model_dir, catalog)[1:]}\n"
        "import twin\n"
        "twin.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["version"] == 2


def test_refresh_loads_nothing_it_never_uses() -> None:
    script = (
        "import sys\n"
        "from pipelines.commands.refresh import without_unused_clients\n"
        "with without_unused_clients():\n"
        "    import pipelines.refresh\n"
        "assert not {'tfx', 'tfx_bsl', 'IPython', 'pymongo', 'google.cloud.bigquery'} & {*sys.modules}\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
