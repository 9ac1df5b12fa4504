"""Loads a servable and replays its recorded requests, before anyone serves it."""

from pathlib import Path
from typing import Any

import numpy as np

from model.errors import UserError

WARMUP_REQUESTS = "assets.extra/tf_serving_warmup_requests"


class ServableCheckError(UserError):
    """A servable does not load, or answers a recorded request with an error or with values that are not finite."""


def replay_warmups(servable: Path) -> int:
    """Answers every recorded Predict request of a servable.

    Args:
        servable: A SavedModel directory; without a file of warm-up requests it is only loaded.

    Returns:
        The number of requests.

    Raises:
        ServableCheckError: If the servable does not load, a request fails, or an output is not finite.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    try:
        signatures = tf.saved_model.load(str(servable)).signatures
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ServableCheckError(f"{servable} does not load: {error}") from error
    file = servable / WARMUP_REQUESTS
    if not file.is_file():
        return 0
    count = 0
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        where = f"{servable}: warm-up request {count} (signature {request.model_spec.signature_name!r})"
        outputs = _call(signatures, request, where)
        for name, value in outputs.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise ServableCheckError(f"{where}: output {name!r} has values that are not finite")
        count += 1
    return count


def _call(signatures: Any, request: Any, where: str) -> dict[str, np.ndarray]:
    import tensorflow as tf

    name = request.model_spec.signature_name or "serving_default"
    if name not in signatures:
        raise ServableCheckError(f"{where}: the servable has only {sorted(signatures)}")
    function = signatures[name]
    parameters = {spec.name: parameter for parameter, spec in function.structured_input_signature[1].items()}
    try:
        inputs = {parameters[key]: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        return {key: value.numpy() for key, value in function(**inputs).items()}
    except (KeyError, TypeError, ValueError, tf.errors.OpError) as error:
        raise ServableCheckError(f"{where} fails: {error}") from error
