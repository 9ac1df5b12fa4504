"""What is told of a data set before anything is trained on it."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tensorflow as tf

from model.config import TwinConfig
from model.errors import UserError
from model.interest import CategoryError
from model.schema import DatasetSchema
from model.train import target_values
from pipelines.experiments import checks
from pipelines.experiments.budget import BUDGETS
from pipelines.experiments.checks import check_labels, fit_models
from pipelines.experiments.dataset import Prepared
from pipelines.experiments.request import ExperimentRequest
from pipelines.experiments.runner import _damage_told
from pipelines.simulator import simulate
from pipelines.tfx.dataset_json import read_dataset_json
from tests.toy import toy_schema


def schema_of(*features: str) -> DatasetSchema:
    """The toy schema with these item features alone."""
    schema = toy_schema()
    return dataclasses.replace(schema, inherent=tuple(f for f in schema.inherent if f.name in features))


def test_sim_hard_is_left_out_where_nothing_is_a_category() -> None:
    wanted, schema = ["twin", "sim_hard"], schema_of("duration_seconds", "author_id")
    models, remarks = fit_models(wanted, False, TwinConfig(), schema)
    assert models == ["twin"] and remarks[0].startswith("SIM Hard was left out")
    with pytest.raises(CategoryError, match="set category_feature to one of"):
        fit_models(wanted, True, TwinConfig(), schema)
    with pytest.raises(CategoryError, match="no feature of items is categorical; add one"):
        fit_models(wanted, True, TwinConfig(), schema_of("duration_seconds"))
    assert fit_models(wanted, False, TwinConfig(category_feature="author_id"), schema) == (wanted, [])
    assert fit_models(["twin"], False, TwinConfig(), schema) == (["twin"], [])
    with pytest.raises(CategoryError, match="is no categorical inherent feature"):
        fit_models(["twin"], False, TwinConfig(category_feature="duration_seconds"), schema)


def test_what_has_no_bias_anyway_is_left_out() -> None:
    schema = toy_schema()
    bare = dataclasses.replace(schema, cross=(), age=False)
    wanted, config = ["twin", "twin_without_bias"], TwinConfig()
    models, remarks = fit_models(wanted, False, config, bare)
    assert models == ["twin"] and remarks[0].startswith("TWIN w/o Bias was left out")
    assert fit_models(wanted, True, config, bare) == fit_models(wanted, False, config, schema) == (wanted, [])


def test_a_category_that_was_guessed_is_named() -> None:
    schema = schema_of("topics", "author_id")
    assert fit_models(["sim_hard"], False, TwinConfig(), schema) == (["sim_hard"], [])
    kind = dataclasses.replace(schema.inherent[0], name="kind", multi_hot=False, modifiers=frozenset())
    two = dataclasses.replace(schema, inherent=(kind, *schema.inherent))
    (remark,) = fit_models(["sim_hard"], False, TwinConfig(), two)[1]
    assert "searches by 'topics'" in remark and "could be kind" in remark


@pytest.mark.parametrize("positive", [0, 600])
def test_a_split_of_one_class_is_told_before_training(positive: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "target_values", lambda files, name, dtype: [np.full(600, positive > 0, np.float32)])
    data = cast(Prepared, SimpleNamespace(data=Path("mine"), files=lambda split: []))
    with pytest.raises(UserError, match=f"mine: {positive} of the 600 targets in the test split have label 1"):
        check_labels(data, "overall", BUDGETS["quick"])
    check_labels(data, "efficiency", BUDGETS["quick"])
    with pytest.raises(UserError, match="in the eval split have label 1"):
        check_labels(data, "efficiency", BUDGETS["full"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"schema": None}, "expected 'schema', the name or path of a schema folder, got None"),
        ({"schema": "nobody"}, "no schema folder 'nobody'"),
        ({"split": {}}, "expected 'split' with the integers"),
        ({"oracle": 0.9}, "expected 'oracle' as .* got 0.9"),
        ({"oracle": {"test": {"auc": float("nan")}}}, "from 0 to 1, got .*nan"),
        ({"oracle": {"test": {"auc": "high"}}}, "expected 'oracle' as .* got .*high"),
    ],
)
def test_mistakes_in_dataset_json_are_told_at_once(change: dict[str, Any], expected: str, tmp_path: Path) -> None:
    simulate(tmp_path / "data", 4, 40, 40)
    file = tmp_path / "data" / "dataset.json"
    about = json.loads(file.read_text())

    def request() -> ExperimentRequest:
        return ExperimentRequest("overall", file.parent, tmp_path / "out", None, "", "quick", "", None, "")

    request()
    file.write_text(json.dumps(about | change))
    with pytest.raises(UserError, match=expected):
        request()
    assert not (tmp_path / "out").exists()


def test_examples_that_are_damaged_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(b"no record")
    message = r"out: a file in prepared/ or clustered/ is damaged \([^{}]+\); delete both folders"
    with pytest.raises(UserError, match=message), _damage_told(Path("out")):
        target_values([str(tmp_path / "x.gz")], "target/label", tf.float32)


def test_a_folder_is_no_dataset_json(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a folder; expected a JSON file"):
        read_dataset_json(tmp_path)
