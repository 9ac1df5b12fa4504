"""A model store over tiny models on disk, for tests of changing its list of models."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.publisher import publish
from serving.server.model_store import ModelStore
from serving.server.predictor import predict
from serving.server.servable import Servable
from serving.server.serving_error import Code, ServingError
from serving.server.version import State

POLL_S = 0.02
Config: TypeAlias = model_server_config_pb2.ModelConfig


class Scale(tf.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = tf.Variable(factor)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def scale(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x * self.factor}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    out = {}
    for factor in (2.0, 3.0):
        out[factor] = tmp_path_factory.mktemp("exported") / "1"
        module = Scale(factor)
        tf.saved_model.save(module, str(out[factor]), signatures={"serving_default": module.scale})
    # Every unload collects garbage: half a second over all that TensorFlow has imported.
    gc.freeze()
    return out


Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path, exported: dict[float, Path]) -> Put:
    """Publishes a version of the model in a directory of that name."""

    def build(name: str, factor: float = 2.0) -> Path:
        def copy(path: Path) -> None:
            shutil.copytree(exported[factor], path, dirs_exist_ok=True)

        publish(tmp_path / name, copy)
        return tmp_path / name

    return build


def config(name: str, base_path: Path | str, policy: str = "", **labels: int) -> Config:
    out = text_format.Parse(policy and f"model_version_policy {{ {policy} }}", Config())
    out.name, out.base_path, out.model_platform = name, str(base_path), "tensorflow"
    out.version_labels.update(labels)
    return out


@contextmanager
def running(
    *configs: Config,
    load: Callable[[Path], Servable] = Servable,
    retries: int = 0,
    wait: bool = True,
    **options: Any,
) -> Iterator[ModelStore]:
    store = ModelStore(configs, load, POLL_S, retries, 0.05, **options)
    store.start()
    try:
        if wait:
            store.wait_ready()
        yield store
    finally:
        store.close()


def answer(store: ModelStore, name: str, version: int | None = None, label: str | None = None) -> tuple[int, float]:
    with store.lease(name, version, label) as (number, servable):
        outputs = predict(servable, servable.signatures["serving_default"], {"x": np.array([1.0], np.float32)})
    return number, float(outputs["y"][0])


def states(store: ModelStore, name: str) -> dict[int, State]:
    try:
        return {version.number: version.state for version in store.statuses(name)}
    except ServingError:
        return {}


def code_of(call: Callable[[], object]) -> tuple[Code, str]:
    with pytest.raises(ServingError) as raised:
        call()
    return raised.value.code, raised.value.message
