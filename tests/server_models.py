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
from tensorflow.core.protobuf import saved_model_pb2
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


class _Waiter(tf.Module):
    """Doubles a number; `wait` says by a file that it has begun, and goes on when another has appeared."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def double(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 2 * x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x"), *[tf.TensorSpec([], tf.string)] * 2])
    def wait(self, x: tf.Tensor, began: tf.Tensor, go: tf.Tensor) -> dict[str, tf.Tensor]:
        def look(_: tf.Tensor) -> tuple[tf.Tensor]:
            return (tf.size(tf.io.matching_files(go)) == 0,)

        with tf.control_dependencies([tf.io.write_file(began, "")]):
            absent = tf.while_loop(lambda absent: absent, look, (tf.constant(True),))[0]
        return {"y": 2 * x + tf.cast(absent, tf.float32)}


def export_waiter(path: Path) -> None:
    """Writes a SavedModel whose signature `wait` (x, began, go) runs until the file `go` appears."""
    model = _Waiter()
    tf.saved_model.save(model, str(path), signatures={"serving_default": model.double, "wait": model.wait})


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


class _ExampleReader(tf.Module):
    """Scores tf.Examples of a float `x` and a string `word`."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def both(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Three outputs on one input; signatures that use some of them are cut out of this one."""
        features = {"x": tf.io.FixedLenFeature([], tf.float32), "word": tf.io.FixedLenFeature([], tf.string, "none")}
        parsed = tf.io.parse_example(inputs, features)
        x = parsed["x"]
        return {
            "classes": tf.stack([parsed["word"], tf.fill(tf.shape(x), "other")], 1),
            "scores": tf.stack([x, 1 - x], 1),
            "outputs": 2 * x,
            "column": 2 * x[:, None],
            "pair": tf.stack([x, x], 1),
            "doubles": tf.cast(x, tf.float64),
            "three": tf.stack([x, x, x], 1),
            "long": tf.concat([x, [0.0]], 0),
            "longer": tf.concat([tf.stack([x, x], 1), [[0.0, 0.0]]], 0),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def slow(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes half a minute."""
        end = tf.timestamp() + 30
        loop = tf.while_loop(lambda now: now < end, lambda _: (tf.timestamp(),), (tf.timestamp(),))
        return {"outputs": tf.zeros_like(inputs, tf.float32) + tf.cast(loop[0] - end, tf.float32)}


# Signature name to what it is made of: output key to output of `both`.
EXAMPLE_SIGNATURES = {
    "serving_default": {"classes": "classes", "scores": "scores"},
    "labels": {"classes": "classes"},
    "scores": {"scores": "scores"},
    "regress": {"outputs": "outputs"},
    "column": {"outputs": "column"},
    "pair": {"outputs": "pair"},
    "doubles": {"outputs": "doubles"},
    "flat_scores": {"scores": "outputs"},
    "text_scores": {"scores": "classes"},
    "float_classes": {"classes": "scores"},
    "uneven": {"classes": "classes", "scores": "three"},
    "longer": {"scores": "longer"},
    "longer_outputs": {"outputs": "long"},
    "other": {"other": "scores"},
    "many": {"classes": "classes", "scores": "scores", "outputs": "outputs"},
}


def export_example_reader(path: Path) -> None:
    """Writes a SavedModel whose signatures read tf.Examples, all from one tensor.

    `other_key` calls its input otherwise; `two_inputs` has two; `apart` reads from a tensor of its own and has the
    method name of a classification; `slow` takes half a minute.
    """
    model = _ExampleReader()
    function = model.both.get_concrete_function()
    tf.saved_model.save(model, str(path), signatures={"both": function, "apart": function, "slow": model.slow})
    file = path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    both = signatures["both"]
    for name, outputs in EXAMPLE_SIGNATURES.items():
        signatures[name].method_name = both.method_name
        signatures[name].inputs["inputs"].CopyFrom(both.inputs["inputs"])
        for key, source in outputs.items():
            signatures[name].outputs[key].CopyFrom(both.outputs[source])
    for name in ("other_key", "two_inputs"):
        signatures[name].CopyFrom(signatures["regress"])
        signatures[name].inputs["examples"].CopyFrom(both.inputs["inputs"])
    del signatures["other_key"].inputs["inputs"]
    apart = signatures["apart"]
    apart.method_name = "tensorflow/serving/classify"
    for key in set(apart.outputs) - {"classes", "scores"}:
        del apart.outputs[key]
    file.write_bytes(saved.SerializeToString())


def add_default(path: Path, signature: str, name: str, value: tf.Tensor) -> None:
    """Gives an input of an exported model's signature a default value."""
    file = path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    saved.meta_graphs[0].signature_def[signature].defaults[name].CopyFrom(tf.make_tensor_proto(value))
    file.write_bytes(saved.SerializeToString())


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
