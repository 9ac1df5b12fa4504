"""The item table of a SavedModel is swapped by its files alone."""

import filecmp
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import fingerprint_pb2

from model.id_index import IdIndex
from model.servable_table import (
    UNKNOWN_ID,
    ServableTableError,
    TableChunk,
    TableRows,
    TableSpec,
    assemble_rows,
    read_ids,
    read_spec,
    read_table,
    replace_table,
    write_projector,
)

HEADS, WIDTH = 2, 4


class _Table(tf.Module):
    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.ids = _rows(np.array([UNKNOWN_ID, 5, 9], np.int64))
        self.id_index = IdIndex()
        self.id_index.assign(np.array([5, 9], np.int64))
        self.projection = _rows(tf.cast([[0] * 4, [1, 2, 3, 4], [5, 6, 7, 8]], dtype))
        self.scale = tf.Variable(tf.ones([HEADS]), trainable=False)
        self.index = {
            "item_id": _rows(np.array([0, 1, 2], np.int32)),
            "a/b.c": _rows(np.array([[0, 0], [3, 4], [5, 6]], np.int32)),
        }


class _Model(tf.Module):
    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.item_table = _Table(dtype)
        self.other = tf.Variable([10.0, 20.0])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="item_id")])
    def look_up(self, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        table = self.item_table
        row = table.id_index.lookup(item_id)
        projection = tf.cast(tf.gather(table.projection, row), tf.float32) * tf.repeat(table.scale, WIDTH // HEADS)
        return {"projection": projection, "pair": tf.gather(table.index["a/b.c"], row), "other": self.other + 0}


def _rows(value: np.ndarray | tf.Tensor) -> tf.Variable:
    return tf.Variable(value, shape=[None, *value.shape[1:]], trainable=False)


def _save(out: Path, dtype: str) -> Path:
    model = _Model(dtype)
    tf.saved_model.save(model, str(out), signatures={"serving_default": model.look_up})
    (out / "assets" / "vocabulary.txt").write_text("a\nb\n")
    (out / "assets.extra").mkdir()
    (out / "assets.extra" / "twin.json").write_text(json.dumps({"schema": "s", "table_rows": 3, "table_coverage": 0.9}))
    return out


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(tmp_path_factory.mktemp("float32") / "1", "float32")


def _thousand(spec: TableSpec) -> TableRows:
    """1000 items with ids 7, 14, ..., brought in descending order: item i has projection [i, 0, 0, -i]."""
    number = np.arange(1000, 0, -1)
    projection = np.zeros([1000, WIDTH], np.float32)
    projection[:, 0], projection[:, 3] = number, -number
    pair = np.stack([number, number + 1], axis=1).astype(np.int32)
    chunks = [
        TableChunk(projection[part], {"item_id": number[part].astype(np.int32), "a/b.c": pair[part]})
        for part in (slice(0, 300), slice(300, 1000))
    ]
    return assemble_rows(spec, number * 7, np.array([1000, 0, 0, 1000], np.float32), chunks)


def test_spec_and_rows_are_read_from_the_checkpoint(servable: Path) -> None:
    assert read_spec(servable) == TableSpec(3, np.dtype(np.float32), 4, 2, {"item_id": None, "a/b.c": 2})
    assert read_ids(servable).tolist() == [UNKNOWN_ID, 5, 9]
    table = read_table(servable)
    assert table.projection.tolist() == [[0] * 4, [1, 2, 3, 4], [5, 6, 7, 8]]
    assert table.index["a/b.c"].tolist() == [[0, 0], [3, 4], [5, 6]]


def test_assembled_rows_ascend_by_id_and_row_0_is_zero(servable: Path) -> None:
    rows = _thousand(read_spec(servable))
    assert rows.ids[:3].tolist() == [UNKNOWN_ID, 7, 14]
    assert rows.projection[:2].tolist() == [[0, 0, 0, 0], [1, 0, 0, -1]]
    assert rows.projection[1000].tolist() == [1000, 0, 0, -1000]
    assert rows.index["item_id"][[0, 1, 1000]].tolist() == [0, 1, 1000]
    assert rows.scale.tolist() == [1, 1]


def test_swapped_tables_serve_a_process_that_knows_nothing_of_the_project(tmp_path: Path) -> None:
    # 700 / 1000 * 127 = 88.9 rounds to 89, and 89 * 1000 / 127 = 700.787; bfloat16 keeps 8 bits: 700 = 175 * 4.
    expected = {"float32": 700.0, "bfloat16": 700.0, "int8": 89 * 1000 / 127}
    for dtype in expected:
        old = _save(tmp_path / dtype / "1", dtype)
        replace_table(old, _thousand(read_spec(old)), tmp_path / dtype / "2")
    script = """
import json, sys, tensorflow as tf
for dtype in ("float32", "bfloat16", "int8"):
    look_up = tf.saved_model.load(dtype + "/2").signatures["serving_default"]
    out = look_up(item_id=tf.constant([4900, 4901], tf.int64))
    print(json.dumps([out[name].numpy().tolist() for name in ("projection", "pair", "other")]))
assert not {"model", "pipelines", "serving"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line, value in zip(done.stdout.splitlines(), expected.values(), strict=True):
        projection, pair, other = json.loads(line)
        np.testing.assert_allclose(projection, [[value, 0.0, 0.0, -value], [0.0] * 4], rtol=1e-6)
        assert pair == [[700, 701], [0, 0]]
        assert other == [10, 20]


def test_everything_but_the_checkpoint_is_copied_bit_for_bit(servable: Path, tmp_path: Path) -> None:
    replace_table(servable, _thousand(read_spec(servable)), tmp_path / "2", made_from="a catalog")
    for name in ("saved_model.pb", "assets/vocabulary.txt"):
        assert filecmp.cmp(servable / name, tmp_path / "2" / name, shallow=False)
    about = json.loads((tmp_path / "2" / "assets.extra" / "twin.json").read_text())
    assert about.pop("created")
    assert about == {"schema": "s", "table_rows": 1001, "table_coverage": None, "made_from": "a catalog"}
    assert not (tmp_path / "2" / "variables" / "shards").exists()


def test_fingerprint_hashes_the_new_checkpoint_as_tensorflow_does(servable: Path, tmp_path: Path) -> None:
    def checkpoint_hash(folder: Path) -> int:
        return fingerprint_pb2.FingerprintDef.FromString((folder / "fingerprint.pb").read_bytes()).checkpoint_hash

    def hash_of_index(folder: Path) -> int:
        content = tf.constant([(folder / "variables" / "variables.index").read_bytes()])
        return int.from_bytes(tf.raw_ops.Fingerprint(data=content, method="farmhash64").numpy().tobytes(), "little")

    assert checkpoint_hash(servable) == hash_of_index(servable)
    replace_table(servable, _thousand(read_spec(servable)), tmp_path / "2")
    assert checkpoint_hash(tmp_path / "2") == hash_of_index(tmp_path / "2") != checkpoint_hash(servable)


def test_kept_tensors_larger_than_a_shard_survive(
    servable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.servable_variables._SHARD_BYTES", 1)
    rows = read_table(servable)
    replace_table(servable, rows, tmp_path / "2")
    assert len(list((tmp_path / "2" / "variables").glob("variables.data-*"))) > 2
    assert tf.train.load_checkpoint(str(tmp_path / "2/variables/variables")).get_tensor(
        "other/.ATTRIBUTES/VARIABLE_VALUE"
    ).tolist() == [10, 20]
    assert read_table(tmp_path / "2").projection.tolist() == rows.projection.tolist()


def test_projector_drops_projections_and_knows_every_trained_item(servable: Path, tmp_path: Path) -> None:
    source = tmp_path / "1"
    shutil.copytree(servable, source)
    np.save(source / "assets.extra" / "known_ids.npy", np.array([9, 40, 5]))
    write_projector(source, tmp_path / "projector")
    table = read_table(tmp_path / "projector")
    assert table.projection.shape == (1, 4)
    assert table.ids.tolist() == [UNKNOWN_ID, 5, 9, 40]
    assert table.index["item_id"].tolist() == [0, 3, 1, 2]


def test_rows_that_do_not_fit_are_refused(servable: Path, tmp_path: Path) -> None:
    rows = _thousand(read_spec(servable))
    wide = TableRows(rows.ids, np.zeros([1001, 8], np.float32), rows.scale, rows.index)
    with pytest.raises(
        ServableTableError, match=r"projection is float32 \[1001, 4\], the new rows float32 \[1001, 8\]"
    ):
        replace_table(servable, wide, tmp_path / "2")
    unsorted = TableRows(rows.ids[::-1].copy(), rows.projection, rows.scale, rows.index)
    with pytest.raises(ServableTableError, match="strictly ascending"):
        replace_table(servable, unsorted, tmp_path / "2")
    nameless = TableRows(rows.ids, rows.projection, rows.scale, {"item_id": rows.index["item_id"]})
    with pytest.raises(ServableTableError, match=r"index/a/b\.c"):
        replace_table(servable, nameless, tmp_path / "2")
    assert not (tmp_path / "2").exists()


def test_duplicate_or_missing_items_are_refused(servable: Path) -> None:
    spec, zeros = read_spec(servable), np.zeros(4, np.float32)
    chunk = TableChunk(np.zeros([2, 4], np.float32), {name: np.zeros(2, np.int32) for name in ("item_id",)})
    with pytest.raises(ServableTableError, match="unique"):
        assemble_rows(spec, np.array([3, 3]), zeros, [])
    with pytest.raises(ServableTableError, match="expected 2 rows, got 0"):
        assemble_rows(spec, np.array([3, 4]), zeros, [])
    with pytest.raises(ServableTableError, match="more projections than item ids"):
        assemble_rows(spec, np.array([3]), zeros, [chunk])


def test_a_folder_without_a_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServableTableError, match=r"no SavedModel \(expected saved_model\.pb"):
        read_spec(tmp_path)
    module = tf.Module()
    module.v = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path / "m"))
    with pytest.raises(ServableTableError, match="no item_table variables"):
        read_spec(tmp_path / "m")
