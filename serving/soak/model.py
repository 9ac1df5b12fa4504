"""What a server under test serves: a small model made for it, or versions of a given one."""

import os
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2

from serving.publisher import latest_version, versions
from serving.serve import ServeError
from serving.tensors import encode
from serving.warmup import first_predict_request

NAME = "soak"
VERSION_OUTPUT = "soak_version"
WIDTH = 64
_ROWS = 64
_ROUNDS = 8
_COPIES = 12
_NODE = "soak_version"


class _Work(tf.Module):
    """Some milliseconds of matrix products, and a task whose begin and end are counted."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        side = WIDTH * _COPIES
        weights = np.random.default_rng(seed).normal(size=[side, side]) / np.sqrt(side)
        self.weights = tf.Variable(weights.astype(np.float32))
        self.begun = tf.Variable(0, dtype=tf.int64)
        self.finished = tf.Variable(0, dtype=tf.int64)

    @tf.function
    def score(self, x: tf.Tensor, key: tf.Tensor, word: tf.Tensor) -> dict[str, tf.Tensor]:
        """One number a row; x [B, WIDTH], key [B], word [B]."""
        hidden = tf.tile(x, [1, _COPIES])
        for _ in range(_ROUNDS):
            hidden = tf.nn.tanh(tf.matmul(hidden, self.weights))
        count = tf.cast(tf.strings.length(word), tf.float32)
        return {"score": tf.reduce_mean(hidden, axis=1) + count + tf.cast(key % 7, tf.float32)}

    @tf.function
    def work(self, seconds: tf.Tensor) -> dict[str, tf.Tensor]:
        """Counts its begin, takes some seconds, and counts its end."""
        begun = self.begun.assign_add(1)
        with tf.control_dependencies([begun]):
            end = tf.timestamp() + seconds
        now = tf.while_loop(lambda now: now < end, lambda _: (tf.timestamp(),), (end - seconds,))[0]
        with tf.control_dependencies([now]):
            finished = self.finished.assign_add(1)
        return {"finished": tf.reshape(finished, [1])}

    @tf.function
    def counts(self, ask: tf.Tensor) -> dict[str, tf.Tensor]:
        """How many tasks began and how many ended."""
        return {"begun": self.begun + 0 * ask, "finished": self.finished + 0 * ask}


def write_model(path: Path, seed: int) -> None:
    """Writes the model made for these tests as one SavedModel."""
    model = _Work(seed)
    score = model.score.get_concrete_function(
        tf.TensorSpec([None, WIDTH], tf.float32, "x"),
        tf.TensorSpec([None], tf.int64, "key"),
        tf.TensorSpec([None], tf.string, "word"),
    )
    work = model.work.get_concrete_function(tf.TensorSpec([], tf.float64, "seconds"))
    counts = model.counts.get_concrete_function(tf.TensorSpec([], tf.int64, "ask"))
    tf.saved_model.save(model, str(path), signatures={"serving_default": score, "work": work, "counts": counts})


def example_request(rows: int = _ROWS) -> predict_pb2.PredictRequest:
    """A request to the model of `write_model`."""
    x = np.linspace(-1, 1, rows * WIDTH, dtype=np.float32).reshape(rows, WIDTH)
    inputs = {"x": x, "key": np.arange(rows), "word": np.array([b"word"] * rows, object)}
    return named_request(inputs)


def named_request(inputs: dict[str, np.ndarray], signature: str = "") -> predict_pb2.PredictRequest:
    """A request to the served model."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(encode(value))
    return request


def recorded_request(servable: Path) -> predict_pb2.PredictRequest:
    """The first recorded request of a servable, addressed to the served model.

    Raises:
        WarmupError: It has none.
    """
    request = first_predict_request(servable)
    request.model_spec.Clear()
    request.model_spec.name = NAME
    return request


def newest(model_dir: Path) -> Path:
    """The newest version below a model directory.

    Raises:
        ServeError: There is none.
    """
    latest = latest_version(model_dir)
    if latest is None:
        raise ServeError(f"{model_dir} holds no version (1/, 2/, ...); give the directory above the numbered ones")
    return versions(model_dir)[latest]


def stamp(source: Path, target: Path, version: int) -> None:
    """Makes a version of a SavedModel whose graph answers its own number, in the output `soak_version`.

    Everything but the graph is linked, so that many versions of a large table cost no room.
    """
    shutil.copytree(source, target, copy_function=_link)
    file = target / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    meta_graph = saved.meta_graphs[0]
    value = tf.make_tensor_proto(np.array([version], np.int64))
    node = meta_graph.graph_def.node.add(name=_NODE, op="Const")
    node.attr["dtype"].type = value.dtype
    node.attr["value"].tensor.CopyFrom(value)
    output = meta_graph.signature_def["serving_default"].outputs[VERSION_OUTPUT]
    output.name, output.dtype = f"{_NODE}:0", value.dtype
    output.tensor_shape.dim.add(size=1)
    file.unlink()
    file.write_bytes(saved.SerializeToString())


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
