"""TF Serving's gRPC services over a model store."""

import logging
from collections.abc import Callable
from typing import NoReturn, TypeVar

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.server.model_info import check_metadata_fields, model_metadata, model_status
from serving.server.model_store import ModelStore
from serving.server.predictor import predict_message
from serving.server.status import Code, ServingError, invalid

_log = logging.getLogger(__name__)
_MAX_MESSAGE_BYTES = 1024
_GRPC_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

Answer = TypeVar("Answer")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Predict and GetModelMetadata.

    Args:
        store: The loaded models.
    """

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def Predict(  # noqa: N802
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature; work is given up at the client's deadline, an operation that then runs is not stopped."""
        return _answer(context, lambda: self._predict(request, _remaining_ms(context)))

    def GetModelMetadata(  # noqa: N802
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a servable."""
        return _answer(context, lambda: self._metadata(request))

    def _predict(self, request: predict_pb2.PredictRequest, timeout_ms: int) -> predict_pb2.PredictResponse:
        _require_model_spec(request)
        spec = request.model_spec
        with self._store.lease(spec.name, version_of(spec), label_of(spec)) as (number, servable):
            response = predict_message(servable, request, timeout_ms)
        response.model_spec.name = spec.name
        response.model_spec.version.value = number
        return response

    def _metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _require_model_spec(request)
        check_metadata_fields(list(request.metadata_field))
        spec = request.model_spec
        return model_metadata(self._store, spec.name, version_of(spec), label_of(spec))


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus.

    Args:
        store: The loaded models.
    """

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def GetModelStatus(  # noqa: N802
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """The states of a model's versions; a label is ignored."""
        return _answer(context, lambda: self._status(request))

    def _status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        _require_model_spec(request)
        return model_status(self._store, request.model_spec.name, version_of(request.model_spec))


def version_of(spec: model_pb2.ModelSpec) -> int | None:
    """The version a request names, or None."""
    return spec.version.value if spec.HasField("version") else None


def label_of(spec: model_pb2.ModelSpec) -> str | None:
    """The version label a request names, or None."""
    return spec.version_label if spec.HasField("version_label") else None


def _require_model_spec(
    request: predict_pb2.PredictRequest
    | get_model_metadata_pb2.GetModelMetadataRequest
    | get_model_status_pb2.GetModelStatusRequest,
) -> None:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")


def _remaining_ms(context: grpc.ServicerContext) -> int:
    remaining = context.time_remaining()
    if remaining is None:
        return 0
    if remaining <= 0:
        raise ServingError(Code.DEADLINE_EXCEEDED, "the deadline passed before the work began")
    # A session refuses timeouts beyond int64 nanoseconds; a day is as good as for ever.
    return max(1, int(min(remaining, 86_400.0) * 1000))


def _answer(context: grpc.ServicerContext, work: Callable[[], Answer]) -> Answer:
    try:
        return work()
    except ServingError as error:
        _abort(context, error)
    except Exception as error:
        _log.exception("a request failed unexpectedly")
        _abort(context, ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}"))


def _abort(context: grpc.ServicerContext, error: ServingError) -> NoReturn:
    message = error.message
    if len(message) > _MAX_MESSAGE_BYTES:
        message = message[:_MAX_MESSAGE_BYTES] + "...TRUNCATED"
    context.abort(_GRPC_CODES[error.code], message)
    raise AssertionError("abort returned")
