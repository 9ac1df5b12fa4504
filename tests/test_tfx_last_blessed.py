"""Which blessed model a new one is compared with."""

import json
import logging
from pathlib import Path

import pytest
from tfx.types import Artifact
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing

from pipelines.tfx.last_blessed import BLESSED, CURRENT_MODEL_ID, LastBlessedBefore


def model(folder: Path, number: int, trained_before_ms: int | None, interest: str = "twin") -> Artifact:
    artifact = Model()
    artifact.id, artifact.uri = number, str(folder / str(number))
    extra = folder / str(number) / "Format-Serving" / "assets.extra"
    extra.mkdir(parents=True)
    (extra / "twin.json").write_text(json.dumps({"trained_before_ms": trained_before_ms}))
    (extra / "config.yaml").write_text(f"interest: {interest}")
    return artifact


def blessing(number: int, blessed: bool = True) -> Artifact:
    artifact = ModelBlessing()
    artifact.set_int_custom_property(CURRENT_MODEL_ID, number)
    artifact.set_int_custom_property(BLESSED, int(blessed))
    return artifact


def chosen(strategy: LastBlessedBefore, models: list[Artifact], blessings: list[Artifact]) -> list[int]:
    before = Examples()
    before.id = 50
    given = {"model": models, "model_blessing": blessings, "before": [before]}
    found = strategy.resolve_artifacts(None, given)  # type: ignore[arg-type]
    assert found is not None
    assert len(found["model"]) == len(found["model_blessing"])
    return [artifact.id for artifact in found["model"]]


def test_the_last_one_that_was_blessed_and_is_older(tmp_path: Path) -> None:
    models = [model(tmp_path, number, 100) for number in (10, 20, 30, 60)]
    blessings = [blessing(10), blessing(20), blessing(30, blessed=False), blessing(60)]
    assert chosen(LastBlessedBefore(), models, blessings) == [20]
    assert chosen(LastBlessedBefore(), models, []) == []


def test_one_that_learned_the_targets_of_the_comparison_is_passed_over_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = [model(tmp_path, 10, 100), model(tmp_path, 20, 200), model(tmp_path, 30, None)]
    blessings = [blessing(number) for number in (10, 20, 30)]
    assert chosen(LastBlessedBefore(unseen_from_ms=200), models, blessings) == [20]
    with caplog.at_level(logging.WARNING, "absl"):
        logging.getLogger("absl").addHandler(caplog.handler)
        try:
            assert chosen(LastBlessedBefore(unseen_from_ms=199), models, blessings) == [10]
            assert chosen(LastBlessedBefore(unseen_from_ms=99), models, blessings) == []
        finally:
            logging.getLogger("absl").removeHandler(caplog.handler)
    assert f"Not compared with {models[1].uri}: the last blessed model was trained on targets up to" in caplog.text
    assert "this eval split starts at 1970-01-01 00:00:00 UTC" in caplog.text
    assert f"Not compared with {models[2].uri}: the last blessed model does not say" in caplog.text


def test_one_that_reads_other_histories_is_started_from_but_not_compared_with(tmp_path: Path) -> None:
    models = [model(tmp_path, 10, 100), model(tmp_path, 20, 100, "twin_v2"), model(tmp_path, 30, 100, "eta")]
    blessings = [blessing(number) for number in (10, 20, 30)]
    assert chosen(LastBlessedBefore(unseen_from_ms=200, clustered=True), models, blessings) == [20]
    assert chosen(LastBlessedBefore(unseen_from_ms=200), models[:2], blessings) == [10]
    assert chosen(LastBlessedBefore(), models[:2], blessings) == [20]
