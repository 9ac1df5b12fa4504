"""Replays a servable's recorded requests before it answers real ones."""

from serving.server.predictor import predict_message
from serving.server.servable import Servable
from serving.server.status import Code, ServingError, invalid
from serving.warmup import WARMUP_FILE, WarmupError, read_warmup

_MAX_RECORDS = 1000


def warm_up(servable: Servable, iterations: int = 1) -> int:
    """Replays the requests in the servable's `assets.extra/tf_serving_warmup_requests`, if it has any.

    Args:
        servable: The freshly loaded model.
        iterations: How often each request is run.

    Returns:
        Number of records replayed.

    Raises:
        ServingError: A record failed or is of another kind than Predict, or there are more than 1000. The load of the
            version fails then.
    """
    file = servable.path / WARMUP_FILE
    if not file.is_file():
        return 0
    count = 0
    try:
        for count, log in enumerate(read_warmup(file), start=1):
            if count > _MAX_RECORDS:
                raise invalid(f"Number of warmup records exceeds the maximum ({_MAX_RECORDS}) at {file}")
            kind = log.WhichOneof("log_type")
            if kind != "predict_log":
                raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
            for _ in range(iterations):
                predict_message(servable, log.predict_log.request)
    except WarmupError as error:
        raise ServingError(Code.DATA_LOSS, str(error)) from None
    return count
