"""Small fixture models, written as plain graphs so that their signatures can share tensors. Stock operations only."""

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

v1 = tf.compat.v1
Signatures = dict[str, tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], str]]
PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def write_tiny(path: Path, factor: float, tag: str = tf.saved_model.SERVING) -> None:
    """Writes y = x * factor, x of any shape."""

    def build() -> Signatures:
        x = v1.placeholder(tf.float32, None, name="x")
        weight = v1.get_variable("factor", initializer=tf.constant(factor), use_resource=True)
        return {"serving_default": ({"x": x}, {"y": x * weight}, PREDICT)}

    _write(path, build, (tag,))


def write_counting(path: Path) -> None:
    """Writes a model that counts its calls: Predict 1, Classify 10, Regress 100; `count` tells the sum.

    Classify and Regress share their input tensor, which MultiInference needs.
    """

    def build() -> Signatures:
        counter = v1.get_variable("counter", initializer=tf.constant(0, tf.int64), use_resource=True)

        def counted(value: tf.Tensor, amount: int) -> tf.Tensor:
            with tf.control_dependencies([counter.assign_add(amount, read_value=False)]):
                return tf.identity(value)

        x = v1.placeholder(tf.float32, None, name="x")
        asked = v1.placeholder(tf.float32, None, name="asked")
        examples = v1.placeholder(tf.string, [None], name="examples")
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]
        scores = tf.stack([parsed, 1 - parsed], axis=1)
        classes = tf.tile([["yes", "no"]], [tf.shape(parsed)[0], 1])
        return {
            "serving_default": ({"x": x}, {"y": counted(2 * x, 1)}, PREDICT),
            "count": ({"x": asked}, {"count": tf.fill(tf.shape(asked), counter.read_value())}, PREDICT),
            "classify": ({"inputs": examples}, {"classes": classes, "scores": counted(scores, 10)}, CLASSIFY),
            "regress": ({"inputs": examples}, {"outputs": counted(parsed, 100)}, REGRESS),
            "regress_predict": ({"inputs": examples}, {"outputs": parsed}, PREDICT),
        }

    _write(path, build)


def write_batched(path: Path, parameters: str, seconds: float = 0.0) -> None:
    """Writes a model that shows the batch it ran in, with its batching parameters.

    Outputs, each with the row count of the batch: `y` = 2 x, `rows` and `width` of the batch, `sum` of its values.
    The signatures `total` and `short` break the rules for outputs; `pair` has two inputs.

    Args:
        path: Directory to create.
        parameters: Text proto BatchingParameters.
        seconds: How long each batch takes.
    """

    def build() -> Signatures:
        x = v1.placeholder(tf.float32, None, name="x")
        end = tf.timestamp() + seconds
        waited = tf.while_loop(lambda now: now < end, lambda _: (tf.timestamp(),), (tf.timestamp(),))[0]
        with tf.control_dependencies([waited]):
            shape = tf.shape(x)
        outputs = {
            "y": 2 * x,
            "rows": tf.fill(shape[:1], shape[0]),
            "width": tf.fill(shape[:1], shape[1]),
            "sum": tf.fill(shape[:1], tf.reduce_sum(x)),
        }
        other = v1.placeholder(tf.float32, None, name="other")
        return {
            "serving_default": ({"x": x}, outputs, PREDICT),
            "total": ({"x": x}, {"total": tf.reduce_sum(x)}, PREDICT),
            "short": ({"x": x}, {"first": x[:1]}, PREDICT),
            "pair": ({"x": x, "other": other}, {"y": 2 * x, "z": 2 * other}, PREDICT),
        }

    _write(path, build)
    (path / "batching_params.pbtxt").write_text(parameters)


def _write(path: Path, build: Callable[[], Signatures], tags: tuple[str, ...] = (tf.saved_model.SERVING,)) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        signatures = build()
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            list(tags),
            signature_def_map={
                name: v1.saved_model.signature_def_utils.build_signature_def(_infos(inputs), _infos(outputs), method)
                for name, (inputs, outputs, method) in signatures.items()
            },
        )
        builder.save()


def _infos(tensors: dict[str, tf.Tensor]) -> dict[str, meta_graph_pb2.TensorInfo]:
    return {
        name: meta_graph_pb2.TensorInfo(
            name=tensor.name, dtype=tensor.dtype.as_datatype_enum, tensor_shape=tensor.shape.as_proto()
        )
        for name, tensor in tensors.items()
    }
