"""The test range in periods."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from model.config import TwinConfig
from model.errors import UserError
from pipelines.experiments import periods
from pipelines.experiments.dataset import Prepared
from pipelines.experiments.periods import read_periods
from pipelines.preprocess.job import OutputPaths

SPLIT = {"train_start_ms": 0, "eval_start_ms": 10, "test_start_ms": 20, "end_ms": 30}


@pytest.mark.parametrize(
    "named", [[], "20", 20, {"20": 25}, [20.5], [21, 25], [20, 20], [25, 20], [20, 30], [20, None]]
)
def test_unusable_periods_are_told(named: Any, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"split": SPLIT, "test_periods_ms": named}))
    data = cast(Prepared, SimpleNamespace(data=tmp_path))
    with pytest.raises(
        UserError, match=r"expected the integers 'test_periods_ms' ascending from .* start 20 to before"
    ):
        read_periods(data, TwinConfig(), 2)


def test_periods_without_targets_are_not_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"split": SPLIT, "test_periods_ms": [20, 23, 24, 27]}))
    monkeypatch.setattr(periods, "target_values", lambda files, name, dtype: [np.array([20, 22]), np.array([24, 26])])
    monkeypatch.setattr(periods, "_examples", lambda data, config, borders: [str(borders)])
    data = cast(Prepared, SimpleNamespace(data=tmp_path, files=lambda split: []))
    found = read_periods(data, TwinConfig(), 2)
    assert [period.start_ms for period in found] == [20, 23, 24, 27]
    assert [period.files for period in found] == [["(20, 23, 30)"], [], ["(24, 27, 30)"], []]


def test_a_damaged_period_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def preprocess(data: Any, schema: Any, split: Any, out: OutputPaths, options: Any) -> None:
        made.append(Path(out.examples) / "Split-train" / "users.gz")
        made[0].parent.mkdir(parents=True)
        made[0].write_bytes(b"records")

    monkeypatch.setattr(periods, "preprocess", preprocess)
    data = cast(Prepared, SimpleNamespace(data=tmp_path, schema=None, folder=tmp_path / "prepared"))
    (tmp_path / "prepared").mkdir()
    (file,) = map(Path, periods._examples(data, TwinConfig(), (20, 23, 30)))
    assert periods._examples(data, TwinConfig(), (20, 23, 30)) == [str(file)] and len(made) == 1
    file.write_bytes(b"rec")
    with pytest.raises(UserError, match=r"users\.gz is missing or of another size"):
        periods._examples(data, TwinConfig(), (20, 23, 30))
    file.unlink()
    with pytest.raises(UserError, match=r"users\.gz is missing or of another size"):
        periods._examples(data, TwinConfig(), (20, 23, 30))
