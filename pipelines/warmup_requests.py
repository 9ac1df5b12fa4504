"""Writes the warm-up requests of a servable, with the answers that are expected."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from model.config import TwinConfig
from model.schema import DatasetSchema
from model.windows import cut_window, user_example_spec
from pipelines.replay_warmups import WARMUP_REQUESTS

_SIGNATURE = "serving_default"
_REQUESTS = 8


def write_warmup_requests(servable: Path, examples: Sequence[str], schema: DatasetSchema, out: Path) -> int:
    """Writes `assets.extra/tf_serving_warmup_requests`: one request for each of the first users.

    A server replays the requests before it serves a version, so that no user waits for the graph's first execution. The
    answers stand beside them: TensorFlow Serving ignores them, a check can compare.

    Args:
        servable: The SavedModel that gives the answers; its `assets.extra/config.yaml` says how long a history is.
        examples: TFRecord gzip files of per-user Examples.
        schema: The data set's columns.
        out: The servable to write into.

    Returns:
        The number of requests.
    """
    config = TwinConfig.load(servable / "assets.extra" / "config.yaml")
    loaded = tf.saved_model.load(str(servable))
    signature = loaded.signatures[_SIGNATURE]
    parameters = {spec.name: parameter for parameter, spec in signature.structured_input_signature[1].items()}
    file = out / WARMUP_REQUESTS
    file.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with tf.io.TFRecordWriter(str(file)) as writer:
        for request in islice(_requests(examples, schema, config), _REQUESTS):
            outputs = signature(**{parameters[name]: value for name, value in request.items()})
            writer.write(_log(request, outputs).SerializeToString(deterministic=True))
            count += 1
    return count


def _requests(examples: Sequence[str], schema: DatasetSchema, config: TwinConfig) -> Iterator[dict[str, tf.Tensor]]:
    for serialized in tf.data.TFRecordDataset(list(examples), compression_type="GZIP"):
        example = tf.io.parse_single_example(serialized, user_example_spec(schema, config.clustered))
        window = cut_window(example, tf.constant(0), schema, config)
        batch = {name: value[tf.newaxis] for name, value in window.items()}
        for name in ("label", "weight", "candidate/history_end"):
            del batch[name]
        # The targets become the candidates of one request at the time and in the context of the last of them.
        for name in ("request/timestamp", *(f"context/{f.name}" for f in schema.context)):
            batch[name] = batch[name][:, -1]
        yield batch


def _log(request: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor]) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    spec = log.predict_log.request.model_spec
    spec.name, spec.signature_name = "twin", _SIGNATURE
    for name, value in request.items():
        log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    for name, value in outputs.items():
        log.predict_log.response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
    return log
