"""The model most cases ask: each of its signatures shows one thing a server must handle. Stock operations only."""

from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

Tensors = dict[str, tf.Tensor]

# Inputs of the signature `echo`, each of any rank.
ECHO_TYPES = {
    "f32": tf.float32,
    "f64": tf.float64,
    "i8": tf.int8,
    "i16": tf.int16,
    "i32": tf.int32,
    "i64": tf.int64,
    "u8": tf.uint8,
    "u32": tf.uint32,
    "u64": tf.uint64,
    "flag": tf.bool,
    "text": tf.string,
}
# Signatures `no_<name>` of one input "v" of a type without JSON form.
TYPES_WITHOUT_JSON = {"half": tf.float16, "bfloat16": tf.bfloat16, "complex64": tf.complex64}
FEATURES = {
    "x": tf.io.FixedLenFeature([], tf.float32),
    "word": tf.io.FixedLenFeature([], tf.string, default_value=b"neg"),
    "id": tf.io.FixedLenFeature([], tf.int64, default_value=0),
    "scale": tf.io.FixedLenFeature([], tf.float32, default_value=1.0),
}


class _Toy(tf.Module):
    """Multiplies by `factor`, so that an answer tells the version that gave it."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = tf.Variable(factor)
        self.counter = tf.Variable(0, dtype=tf.int64)

    def pair(self, inputs: Tensors) -> Tensors:
        return {"y": inputs["x"] * self.factor, "twice": 2 * inputs["n"]}

    def single(self, x: tf.Tensor) -> Tensors:
        return {"y": x * self.factor}

    def total(self, x: tf.Tensor) -> Tensors:
        return {"sum": tf.reduce_sum(x), "y": tf.identity(x)}

    def uneven(self, x: tf.Tensor) -> Tensors:
        return {"y": tf.identity(x), "z": tf.concat([x, x], 0)}

    def words(self, text: tf.Tensor) -> Tensors:
        return {"upper": tf.strings.upper(text), "raw_bytes": tf.identity(text)}

    def slow(self, seconds: tf.Tensor) -> Tensors:
        """Loops for so long, then counts the call."""
        end = tf.timestamp() + tf.reduce_max(seconds)
        loop = tf.while_loop(lambda now: now < end, lambda _: (tf.timestamp(),), (tf.timestamp(),))
        with tf.control_dependencies([loop[0]]):
            self.counter.assign_add(1)
        return {"waited": tf.cast([loop[0] >= end], tf.float32)}

    def finished(self, x: tf.Tensor) -> Tensors:
        return {"count": tf.fill(tf.shape(x), self.counter)}

    def echo(self, inputs: Tensors) -> Tensors:
        return {name + "_out": tf.identity(value) for name, value in inputs.items()}

    def read(self, file: tf.Tensor) -> Tensors:
        return {"content": tf.map_fn(tf.io.read_file, file)}

    def checked(self, n: tf.Tensor) -> Tensors:
        check = tf.debugging.assert_non_negative(n, message="n must not be negative")
        with tf.control_dependencies([check]):
            return {"m": tf.identity(n)}

    def classify(self, inputs: tf.Tensor) -> Tensors:
        parsed = tf.io.parse_example(inputs, FEATURES)
        labels = tf.stack([parsed["word"], tf.fill(tf.shape(parsed["word"]), "other")], axis=1)
        scores = parsed["x"] * parsed["scale"]
        return {"classes": labels, "scores": tf.stack([scores, 1 - scores], axis=1)}

    def labels(self, inputs: tf.Tensor) -> Tensors:
        return {"classes": self.classify(inputs)["classes"]}

    def scores(self, inputs: tf.Tensor) -> Tensors:
        return {"scores": self.classify(inputs)["scores"]}

    def flat_scores(self, inputs: tf.Tensor) -> Tensors:
        return {"scores": tf.io.parse_example(inputs, FEATURES)["x"]}

    def no_scores(self, inputs: tf.Tensor) -> Tensors:
        return {"other": self.classify(inputs)["scores"]}

    def regress(self, inputs: tf.Tensor) -> Tensors:
        parsed = tf.io.parse_example(inputs, FEATURES)
        return {"outputs": parsed["x"] * parsed["scale"] + tf.cast(parsed["id"], tf.float32)}

    def regress_column(self, inputs: tf.Tensor) -> Tensors:
        return {"outputs": self.regress(inputs)["outputs"][:, tf.newaxis]}

    def regress_wide(self, inputs: tf.Tensor) -> Tensors:
        return {"outputs": self.classify(inputs)["scores"]}

    def regress_int(self, inputs: tf.Tensor) -> Tensors:
        return {"outputs": tf.io.parse_example(inputs, FEATURES)["id"]}


_ON_FLOATS = ("total", "uneven", "finished")
_ON_EXAMPLES = ("classify", "labels", "scores", "flat_scores", "no_scores")
_ON_EXAMPLES_TO_NUMBERS = ("regress", "regress_column", "regress_wide", "regress_int")


def write_toy(path: Path, factor: float) -> None:
    """Writes the SavedModel.

    Args:
        path: Directory to create.
        factor: What `serving_default` and `single` multiply by.
    """
    model = _Toy(factor)
    x = tf.TensorSpec([None, 2], tf.float32, name="x")
    n = tf.TensorSpec([None], tf.int64, name="n")
    scale = tf.TensorSpec([], tf.float32, name="scale")
    kinds = {name: tf.TensorSpec(None, dtype, name=name) for name, dtype in ECHO_TYPES.items()}
    signatures = {
        "serving_default": tf.function(model.pair).get_concrete_function({"x": x, "n": n}),
        "single": tf.function(model.single).get_concrete_function(tf.TensorSpec(None, tf.float32, name="x")),
        "words": tf.function(model.words).get_concrete_function(tf.TensorSpec([None], tf.string, name="text")),
        "slow": tf.function(model.slow).get_concrete_function(tf.TensorSpec(None, tf.float64, name="seconds")),
        "read": tf.function(model.read).get_concrete_function(tf.TensorSpec([None], tf.string, name="file")),
        "checked": tf.function(model.checked).get_concrete_function(n),
        "echo": tf.function(model.echo).get_concrete_function(kinds),
        "scaled": tf.function(lambda x, scale: {"y": x * scale}).get_concrete_function(x, scale),
        "wrong_input": tf.function(lambda examples: model.classify(examples)).get_concrete_function(
            tf.TensorSpec([None], tf.string, name="examples")
        ),
    }
    floats = tf.TensorSpec([None], tf.float32, name="x")
    for name in _ON_FLOATS:
        signatures[name] = tf.function(getattr(model, name)).get_concrete_function(floats)
    examples = tf.TensorSpec([None], tf.string, name="inputs")
    for name in (*_ON_EXAMPLES, *_ON_EXAMPLES_TO_NUMBERS):
        signatures[name] = tf.function(getattr(model, name)).get_concrete_function(examples)
    for name, dtype in TYPES_WITHOUT_JSON.items():
        spec = {"v": tf.TensorSpec([None], dtype, name="v")}
        signatures[f"no_{name}"] = tf.function(model.echo).get_concrete_function(spec)
        make = tf.function(lambda x, dtype=dtype: {"v": tf.cast(x, dtype)})
        signatures[f"to_{name}"] = make.get_concrete_function(tf.TensorSpec([None], tf.float32, name="x"))
    tf.saved_model.save(model, str(path), signatures=signatures)
    _set_default(path, "scaled", "scale", 3.0)


def _set_default(path: Path, signature: str, name: str, value: float) -> None:
    """Makes an input optional."""
    file = path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    saved.meta_graphs[0].signature_def[signature].defaults[name].CopyFrom(tf.make_tensor_proto(value, tf.float32))
    file.write_bytes(saved.SerializeToString())
