"""`twin cluster` and `twin bench clustering`, from the command line to the files."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import twin
from model.export import export
from pipelines.clustering.vectors import load_vectors, save_vectors, servable_vectors
from tests.preprocess_support import read_examples
from tests.toy import ENCODERS, ITEM_IDS, KNOWN, NOW, SMALL, toy_ranker, toy_schema

USERS, BEHAVIOURS = 3, 200


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    ranker = toy_ranker(dataclasses.replace(SMALL, table_dtype="int8"))
    export(ranker, toy_schema(), ENCODERS, ITEM_IDS[:KNOWN], 1.0, folder / "1")
    return folder


def write_events(folder: Path, days: int) -> Path:
    rng = np.random.default_rng(0)
    n = USERS * BEHAVIOURS
    time = NOW + rng.permutation(n) * 10**6
    table = {
        "user_id": 1 + np.arange(n) % USERS,
        "item_id": np.where(rng.random(n) < 0.1, 3, rng.choice(ITEM_IDS, n)),
        "timestamp": time,
        "click": rng.integers(0, 2, n),
        "is_behaviour": np.ones(n, np.int64),
        "play_seconds": rng.uniform(0, 30, n).astype(np.float32),
        "completion": rng.choice([0.1, 0.9, np.nan], n).astype(np.float32),
        "liked": rng.integers(0, 2, n),
        "page_position": rng.integers(0, 4, n),
    }
    keep = time < NOW + days * 10**8
    (folder / "events").mkdir(parents=True)
    pq.write_table(pa.table({name: values[keep] for name, values in table.items()}), folder / "events" / "a.parquet")
    return folder


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["twin", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        twin.main()
    return exit_.value.code


def test_the_vectors_are_those_of_the_servables_table(model_dir: Path, tmp_path: Path) -> None:
    exact = toy_ranker().project_rows(tf.range(1, len(ITEM_IDS) + 1)).numpy()
    vectors = servable_vectors(model_dir / "1")
    assert vectors.ids.tolist() == ITEM_IDS.tolist()
    assert vectors.values.dtype == np.int8
    save_vectors(vectors, tmp_path / "vectors")
    found = load_vectors(tmp_path / "vectors").at(np.arange(len(ITEM_IDS)))
    assert np.abs(found - exact).max() <= 0.51 * np.abs(exact).max() / 127


def test_a_run_and_one_that_goes_on(
    tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_events(tmp_path / "first", 4)
    arguments: list[str | Path] = ["cluster", "--servable", model_dir, "--out", tmp_path / "1", "--data", first]
    assert call(monkeypatch, *arguments) == 0
    text = capsys.readouterr().out
    assert "3 users with 400 behaviours" in text and "Clusters (hierarchical)" in text
    second = write_events(tmp_path / "second", 6)
    arguments = ["cluster", "--servable", model_dir / "1", "--out", tmp_path / "2", "--data", second, "--json"]
    assert call(monkeypatch, *arguments, "--previous", tmp_path / "1", "--", "--direct_num_workers=1") == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["earlier"], report["new"], report["behaviours"]) == (400, 200, 600)
    assert report == json.loads((tmp_path / "2" / "report.json").read_text())
    lives = read_examples(tmp_path / "2" / "lives")
    assert [sum(life["history/cluster_size"]) for life in lives] == [200, 200, 200]
    assert sorted(path.name for path in (tmp_path / "2").iterdir()) == ["dead_letters", "lives", "report.json"]
    assert call(monkeypatch, *arguments) == 2
    assert "a finished run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--servable", "MODEL", "--out", "OUT"], "expected --data or --examples"),
        (["--servable", "MODEL", "--out", "OUT", "--data", "D", "--examples", "E"], "expected --data or --examples"),
        (["--servable", "MODEL", "--out", "OUT", "--data", "D", "--catalog", "C"], "--catalog goes with --examples"),
        (["--servable", "OUT", "--out", "OUT", "--data", "D"], "no servable (saved_model.pb)"),
        (["--servable", "MODEL", "--out", __file__, "--data", "D"], "expected a folder, or a place to make one: File"),
        (["--servable", "MODEL", "--out", "OUT", "--data", "/nowhere"], "no events table in /nowhere"),
        (["--servable", "MODEL", "--out", "OUT", "--examples", "/nowhere"], "/nowhere: expected per-user Examples"),
        (["--servable", "MODEL", "--out", "OUT", "--examples", "E", "--schema", "kuairand"], "expected the catalog's"),
    ],
)
def test_mistakes_exit_with_2_and_leave_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"MODEL": str(model_dir), "OUT": str(tmp_path / "out")}
    assert call(monkeypatch, "cluster", *(places.get(a, a) for a in arguments)) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_the_benchmark_compares_the_methods(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "bench", "clustering", "--behaviours", "3000", "--items", "2000", "--json") == 0
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(measured) == ["hierarchical", "bisecting", "kmeans", "chunks"]
    for method, values in measured.items():
        assert values["behaviours"] == 3000
        assert values["compression"] == pytest.approx(values["clusters"] / 3000, abs=1e-4)
        assert values["mean_size"] == pytest.approx(3000 / values["clusters"], abs=0.01)
        assert values["max_size"] <= 20 or method == "kmeans"
        assert 0 < values["similarity"] <= 1
        assert values["seconds"] > 0 and values["peak_rss_gb"] > 0
    # Behaviours that are alike are together, which consecutive ones are not.
    assert measured["hierarchical"]["similarity"] > measured["chunks"]["similarity"] + 0.2
