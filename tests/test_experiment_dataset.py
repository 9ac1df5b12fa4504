"""The data that an experiment prepares: what they depend on, and that no half of them is taken for the whole."""

import json
from pathlib import Path
from typing import Any

import pytest

from model.config import TwinConfig
from model.errors import UserError
from pipelines.experiments import dataset
from pipelines.experiments.dataset import made_aside, output_paths, prepare
from pipelines.simulator import simulate


def test_another_split_is_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(tmp_path / "data", 4, 40, 40)

    def make(data: Path, schema: Any, split: Any, config: Any, folder: Path) -> None:
        with made_aside(folder) as temporary:
            (temporary / "encoders.json").write_text("{}")

    monkeypatch.setattr(dataset, "_make", make)
    monkeypatch.setattr(dataset.Encoders, "load", lambda _: None)
    about = json.loads((tmp_path / "data" / "dataset.json").read_text())
    first = prepare(tmp_path / "data", TwinConfig(), tmp_path / "cache")
    again = prepare(tmp_path / "data", TwinConfig(), tmp_path / "cache")
    about["split"]["test_start_ms"] -= 1
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(about))
    moved = prepare(tmp_path / "data", TwinConfig(), tmp_path / "cache")
    assert (first.fingerprint, first.folder) == (again.fingerprint, again.folder)
    assert moved.fingerprint != first.fingerprint and moved.folder != first.folder

    def damaged(file: str) -> None:
        with pytest.raises(UserError, match=f"{file} is missing or of another size, .* delete the folder"):
            prepare(tmp_path / "data", TwinConfig(), tmp_path / "cache")

    (moved.folder / "encoders.json").write_text("{")
    damaged("encoders.json")
    (moved.folder / "encoders.json").unlink()
    damaged("encoders.json")
    (moved.folder / "encoders.json").write_text("{}")
    (moved.folder / "extra.gz").touch()
    damaged("extra.gz")
    (moved.folder / "extra.gz").unlink()
    assert prepare(tmp_path / "data", TwinConfig(), tmp_path / "cache") == moved
    for content in ("{}", "[]", "null", "[1]"):
        (moved.folder / "files.json").write_text(content)
        damaged("files.json")
    (moved.folder / "files.json").unlink()
    damaged("files.json")


def test_what_was_interrupted_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), made_aside(tmp_path / "made") as temporary:
        (temporary / "half").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_dead_letters_outlast_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ValueError), made_aside(tmp_path / "made") as temporary:
        Path(output_paths(temporary, tmp_path / "made").dead_letters).mkdir()
        raise ValueError
    (letters,) = tmp_path.iterdir()
    assert letters.name.startswith("made-dead_letters-")


def test_of_two_that_make_the_same_the_first_stays(tmp_path: Path) -> None:
    with made_aside(tmp_path / "made") as second:
        (second / "file").write_text("b")
        with made_aside(tmp_path / "made") as first:
            (first / "file").write_text("a")
    assert (tmp_path / "made" / "file").read_text() == "a"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]
    (tmp_path / "file").touch()
    with pytest.raises(OSError), made_aside(tmp_path / "file"):
        pass
