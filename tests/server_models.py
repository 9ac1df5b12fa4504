"""Small SavedModels and helpers for the tests of the server and its clients."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.warmup import WARMUP_FILE

ROOT = Path(__file__).resolve().parents[1]


class _Toy(tf.Module):
    """Multiplies by `factor`; each signature shows one thing a server must handle."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = tf.Variable(factor)

    @tf.function
    def two_inputs(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        length = inputs["history/length"]
        check = tf.debugging.assert_non_negative(length, message="history/length must not be negative")
        with tf.control_dependencies([check]):
            return {"y": inputs["x"] * self.factor, "twice": 2 * length}

    @tf.function
    def single(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x * self.factor}

    @tf.function
    def scalar(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": tf.reduce_sum(x), "y": x}

    @tf.function
    def words(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"upper": tf.strings.upper(text), "raw_bytes": text}

    @tf.function
    def slow(self, seconds: tf.Tensor) -> dict[str, tf.Tensor]:
        start = tf.timestamp()
        end = start + seconds
        now = tf.while_loop(lambda now: now < end, lambda _: (tf.timestamp(),), (start,))
        return {"waited": tf.reshape(now[0] - start, [1])}

    @tf.function
    def echo(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {name + "_out": tf.identity(value) for name, value in inputs.items()}


ECHO_TYPES = {
    "f32": tf.float32,
    "f64": tf.float64,
    "i8": tf.int8,
    "i32": tf.int32,
    "i64": tf.int64,
    "u8": tf.uint8,
    "u32": tf.uint32,
    "u64": tf.uint64,
    "flag": tf.bool,
    "text": tf.string,
}


def export(path: Path, factor: float = 2.0, warmup: bytes | None = None) -> None:
    """Writes a SavedModel whose answers tell its version: y = x * factor."""
    model = _Toy(factor)
    pair = {
        "x": tf.TensorSpec([None, 2], tf.float32, name="x"),
        "history/length": tf.TensorSpec([None], tf.int64, name="history/length"),
    }
    kinds = {name: tf.TensorSpec(None, dtype, name=name) for name, dtype in ECHO_TYPES.items()}
    signatures = {
        "serving_default": model.two_inputs.get_concrete_function(pair),
        "single": model.single.get_concrete_function(tf.TensorSpec(None, tf.float32, name="x")),
        "scalar": model.scalar.get_concrete_function(tf.TensorSpec([None], tf.float32, name="x")),
        "words": model.words.get_concrete_function(tf.TensorSpec([None], tf.string, name="text")),
        "slow": model.slow.get_concrete_function(tf.TensorSpec([], tf.float64, name="seconds")),
        "echo": model.echo.get_concrete_function(kinds),
        "half": model.echo.get_concrete_function({"h": tf.TensorSpec([None], tf.float16, name="h")}),
    }
    tf.saved_model.save(model, str(path), signatures=signatures)
    if warmup is not None:
        file = path / WARMUP_FILE
        file.parent.mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(file)) as writer:
            writer.write(warmup)


def exporter(factor: float, warmup: bytes | None = None) -> Callable[[Path], None]:
    """`export` in the form `publish` wants."""
    return lambda path: export(path, factor, warmup)


def warmup_record(x: list[list[float]], length: list[int], signature: str = "serving_default") -> bytes:
    """A serialized PredictionLog with one Predict request of the toy model."""
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "recorded-under-another-name"
    request.model_spec.signature_name = signature
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(x, tf.float32, shape=[len(x), 2]))
    request.inputs["history/length"].CopyFrom(tf.make_tensor_proto(length, tf.int64))
    return bytes(log.SerializeToString())


@contextmanager
def served(model_dir: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """Runs `twin serve` on free ports; gives the process and the gRPC and REST addresses."""
    code = "import sys, typer; from serving.commands.serve import serve; typer.run(serve)"
    command = [sys.executable, "-c", code, "--model-dir", str(model_dir), "--embedded", *options]
    command += ["--port", "0", "--rest-port", "0", "--poll-seconds", "0.1"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        addresses: dict[str, str] = {}
        for line in process.stdout:
            found = re.match(r"(gRPC|REST): (?:http://)?(\S+)", line)
            if found:
                addresses[found[1]] = found[2]
            if line.startswith("try:"):
                break
        yield process, addresses["gRPC"], addresses["REST"]
    finally:
        process.kill()
        process.wait()
