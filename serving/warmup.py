"""The recorded requests that a servable carries along: `assets.extra/tf_serving_warmup_requests`."""

from collections.abc import Iterator
from pathlib import Path

from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from model.errors import UserError
from serving.publisher import latest_version, versions

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"


class WarmupError(UserError):
    """Warm-up requests that are missing or cannot be read."""


class RecordError(WarmupError):
    """A record that is whole but no PredictionLog."""


def find_warmup_file(path: Path) -> Path:
    """The warm-up file of a servable, of a model directory's newest version, or the path itself if it is a file.

    Raises:
        WarmupError: There is none.
    """
    if path.is_file():
        return path
    latest = latest_version(path)
    folder = path if latest is None else versions(path)[latest]
    if not (folder / WARMUP_FILE).is_file():
        raise WarmupError(f"no warm-up requests at {folder / WARMUP_FILE}; give a servable that has them or a request")
    return folder / WARMUP_FILE


def read_warmup(path: Path) -> Iterator[prediction_log_pb2.PredictionLog]:
    """Reads a TFRecord of PredictionLog messages.

    Args:
        path: The file.

    Yields:
        The messages in order.

    Raises:
        RecordError: A record is no PredictionLog.
        WarmupError: The file is damaged.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        for number, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
            try:
                yield prediction_log_pb2.PredictionLog.FromString(record)
            except DecodeError:
                raise RecordError(f"{path}: record {number} is no PredictionLog") from None
    except tf.errors.OpError as error:
        raise WarmupError(f"{path} cannot be read: {error.message}") from None


def first_predict_request(path: Path) -> predict_pb2.PredictRequest:
    """The first recorded Predict request below `path` (a servable, a model directory or the file itself).

    Raises:
        WarmupError: There is no file, or no Predict request in it.
    """
    file = find_warmup_file(path)
    for log in read_warmup(file):
        if log.WhichOneof("log_type") == "predict_log":
            return log.predict_log.request
    raise WarmupError(f"{file} holds no Predict request")
