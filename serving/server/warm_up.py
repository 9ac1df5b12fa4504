"""Replays a servable's recorded requests before it answers real ones."""

from collections.abc import Callable

from tensorflow_serving.apis import prediction_log_pb2

from serving.server.inference_messages import classify_message, multi_inference_message, regress_message
from serving.server.predictor import predict_message
from serving.server.servable import Servable
from serving.server.serving_error import Code, ServingError, invalid
from serving.warmup import WARMUP_FILE, RecordError, WarmupError, read_warmup

MAX_RECORDS = 1000


def warm_up(
    servable: Servable,
    iterations: int = 1,
    check_method: bool = False,
    is_stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Replays the requests in the servable's `assets.extra/tf_serving_warmup_requests`, if it has any.

    A record's model name and version are not looked at, its signature is.

    Args:
        servable: The freshly loaded model.
        iterations: How often each request is run.
        check_method: Classify and regress only with signatures whose method name says so.
        is_stopped: Whether to go on no more; asked before each request.

    Returns:
        Number of records replayed.

    Raises:
        ServingError: A record failed or is no predict, classify, regress or multi_inference log, there are more than
            1000, or the file is damaged; CANCELLED, `is_stopped`. The load of the version fails then.
    """
    file = servable.path / WARMUP_FILE
    if not file.is_file():
        return 0
    count = 0
    try:
        for count, log in enumerate(read_warmup(file), start=1):
            if count > MAX_RECORDS:
                raise invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}")
            for _ in range(iterations):
                if is_stopped():
                    raise ServingError(Code.CANCELLED, "the server stopped while it replayed warm-up requests")
                _replay(servable, log, check_method)
    except RecordError as error:
        raise invalid(f"Failed to parse warmup record: {error}") from None
    except WarmupError as error:
        raise ServingError(Code.DATA_LOSS, str(error)) from None
    return count


def _replay(servable: Servable, log: prediction_log_pb2.PredictionLog, check_method: bool) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        predict_message(servable, log.predict_log.request)
    elif kind == "classify_log":
        classify_message(servable, log.classify_log.request, check_method=check_method)
    elif kind == "regress_log":
        regress_message(servable, log.regress_log.request, check_method=check_method)
    elif kind == "multi_inference_log":
        multi_inference_message(servable, log.multi_inference_log.request, check_method=check_method)
    else:
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
