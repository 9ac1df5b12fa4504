"""Warm-up requests: which are replayed, and which fail the load."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis import inference_pb2, prediction_log_pb2

from serving.server.inference import CLASSIFY_METHOD, REGRESS_METHOD
from serving.server.servable import Servable
from serving.server.serving_error import Code, ServingError
from serving.server.warm_up import MAX_RECORDS, warm_up
from serving.tensors import encode
from serving.warmup import WARMUP_FILE
from tests.server_models import export_example_reader

EXAMPLE = tf.train.Example(
    features=tf.train.Features(feature={"x": tf.train.Feature(float_list=tf.train.FloatList(value=[0.25]))})
)
Log: TypeAlias = prediction_log_pb2.PredictionLog


class CountingServable(Servable):
    """Counts the runs of its graph."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.runs = 0

    def run(
        self, feeds: Mapping[str, NDArray[np.generic]], fetches: Sequence[str], timeout_ms: int = 0
    ) -> list[NDArray[np.generic]]:
        self.runs += 1
        return super().run(feeds, fetches, timeout_ms)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reader") / "1"
    export_example_reader(path)
    return path


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "1"))


def write(model: Path, logs: Iterable[Log]) -> None:
    file = model / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def example_log(kind: str, signature: str = "", example: Any = EXAMPLE) -> Log:
    log = Log()
    request = getattr(log, kind).request
    request.model_spec.name = "recorded-under-another-name"
    request.model_spec.version.value = 999
    request.model_spec.signature_name = signature
    request.input.example_list.examples.append(example)
    return log


def predict_log(signature: str = "regress") -> Log:
    log = Log()
    log.predict_log.request.model_spec.signature_name = signature
    log.predict_log.request.inputs["inputs"].CopyFrom(encode(np.array([EXAMPLE.SerializeToString()], object)))
    return log


def multi_inference_log() -> Log:
    log = Log()
    request = log.multi_inference_log.request
    request.input.example_list.examples.append(EXAMPLE)
    for method, signature in ((CLASSIFY_METHOD, "labels"), (REGRESS_METHOD, "regress")):
        task = inference_pb2.InferenceTask(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = "any", signature
        request.tasks.append(task)
    return log


def load_error(model: Path, *logs: Log) -> ServingError:
    write(model, logs)
    with pytest.raises(ServingError) as raised:
        warm_up(Servable(model))
    return raised.value


def test_every_kind_of_request_is_replayed(model: Path) -> None:
    write(
        model,
        [predict_log(), example_log("classify_log"), example_log("regress_log", "regress"), multi_inference_log()],
    )
    servable = CountingServable(model)
    assert warm_up(servable) == 4
    assert servable.runs == 4
    assert warm_up(servable, iterations=3) == 4
    assert servable.runs == 4 + 12


def test_nothing_to_replay(model: Path) -> None:
    assert warm_up(Servable(model)) == 0
    write(model, [])
    assert warm_up(Servable(model)) == 0


def test_other_kinds_are_not_supported(model: Path) -> None:
    log = Log()
    log.session_run_log.request.model_spec.name = "toy"
    error = load_error(model, predict_log(), log)
    assert error.code is Code.UNIMPLEMENTED
    assert error.message == "Unsupported log_type for warmup: session_run_log"
    assert load_error(model, Log()).code is Code.UNIMPLEMENTED


def test_a_failing_record_fails_the_load(model: Path) -> None:
    without_x = tf.train.Example()
    for log in (example_log("classify_log", example=without_x), example_log("regress_log", "regress", without_x)):
        error = load_error(model, predict_log(), log)
        assert error.code is Code.INVALID_ARGUMENT
        assert "Feature: x" in error.message
    assert load_error(model, example_log("regress_log", "labels")).code is Code.INVALID_ARGUMENT
    assert load_error(model, predict_log("none")).code is Code.FAILED_PRECONDITION
    assert load_error(model, example_log("classify_log", "none")).code is not Code.OK


def test_a_thousand_records_at_most(model: Path) -> None:
    write(model, [predict_log()] * MAX_RECORDS)
    assert warm_up(Servable(model)) == 1000
    error = load_error(model, *[predict_log()] * (MAX_RECORDS + 1))
    assert error.code is Code.INVALID_ARGUMENT
    assert error.message.startswith("Number of warmup records exceeds the maximum (1000) at ")


def test_a_cut_file_fails_the_load(model: Path) -> None:
    write(model, [predict_log()])
    file = model / WARMUP_FILE
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ServingError, match="DATA_LOSS"):
        warm_up(Servable(model))


def test_a_record_that_is_no_message_fails_the_load(model: Path) -> None:
    write(model, [])
    with tf.io.TFRecordWriter(str(model / WARMUP_FILE)) as writer:
        writer.write(b"\xff\xff\xff garbage")
    with pytest.raises(ServingError, match=r"INVALID_ARGUMENT: Failed to parse warmup record: .*record 0"):
        warm_up(Servable(model))


def test_a_server_that_stops_ends_the_warm_up(model: Path) -> None:
    write(model, [predict_log()])
    servable = CountingServable(model)
    with pytest.raises(ServingError, match="CANCELLED"):
        warm_up(servable, iterations=1000, is_stopped=lambda: servable.runs == 3)
    assert servable.runs == 3


def test_method_names_are_checked_where_asked(model: Path) -> None:
    write(model, [example_log("classify_log", "labels")])
    assert warm_up(Servable(model)) == 1
    with pytest.raises(ServingError, match="INVALID_ARGUMENT"):
        warm_up(Servable(model), check_method=True)
