"""TF Serving's gRPC services over a model store."""

import logging
from collections.abc import Callable
from functools import partial
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.server.inference_messages import classify_message, multi_inference_message, regress_message
from serving.server.model_info import check_metadata_fields, model_metadata, model_status
from serving.server.model_store import ModelStore
from serving.server.predictor import predict_message
from serving.server.servable import Servable
from serving.server.serving_error import Code, ServingError, invalid

_log = logging.getLogger(__name__)
_MAX_MESSAGE_BYTES = 1024
_GRPC_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

Answer = TypeVar("Answer")
Asked = TypeVar(
    "Asked", predict_pb2.PredictRequest, classification_pb2.ClassificationRequest, regression_pb2.RegressionRequest
)
Scored = TypeVar(
    "Scored", predict_pb2.PredictResponse, classification_pb2.ClassificationResponse, regression_pb2.RegressionResponse
)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Predict, Classify, Regress, MultiInference and GetModelMetadata.

    Differences from TF Serving: errors of broken tensors and wrong dtypes also name the input and what is wrong with
    it; the signature that initialises a model is refused; bytes of a class label that are not UTF-8 are replaced.

    Args:
        store: The loaded models.
        check_method_names: Classify and regress only with signatures whose method name says so.
    """

    def __init__(self, store: ModelStore, check_method_names: bool = False) -> None:
        self._store = store
        self._classify = partial(classify_message, check_method=check_method_names)
        self._regress = partial(regress_message, check_method=check_method_names)
        self._multi_inference = partial(multi_inference_message, check_method=check_method_names)

    def Predict(  # noqa: N802
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature; work is given up at the client's deadline, an operation that then runs is not stopped."""
        return _answer(context, lambda: self._score(request, predict_message, _remaining_ms(context)))

    def Classify(  # noqa: N802
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Labels and scores of tf.Examples."""
        return _answer(context, lambda: self._score(request, self._classify, _remaining_ms(context)))

    def Regress(  # noqa: N802
        self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        """One number for each tf.Example."""
        return _answer(context, lambda: self._score(request, self._regress, _remaining_ms(context)))

    def MultiInference(  # noqa: N802
        self, request: inference_pb2.MultiInferenceRequest, context: grpc.ServicerContext
    ) -> inference_pb2.MultiInferenceResponse:
        """Several signatures of one model on the same tf.Examples; the first task says which version."""
        return _answer(context, lambda: self._infer(request, _remaining_ms(context)))

    def GetModelMetadata(  # noqa: N802
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a servable."""
        return _answer(context, lambda: self._metadata(request))

    def _score(self, request: Asked, score: Callable[[Servable, Asked, int], Scored], timeout_ms: int) -> Scored:
        _require_model_spec(request)
        spec = request.model_spec
        with self._store.lease(spec.name, version_of(spec), label_of(spec)) as (number, servable):
            response = score(servable, request, timeout_ms)
        response.model_spec.name = spec.name
        response.model_spec.version.value = number
        return response

    def _infer(
        self, request: inference_pb2.MultiInferenceRequest, timeout_ms: int
    ) -> inference_pb2.MultiInferenceResponse:
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        with self._store.lease(spec.name, version_of(spec), label_of(spec)) as (number, servable):
            response = self._multi_inference(servable, request, timeout_ms)
        for result in response.results:
            result.model_spec.version.value = number
        return response

    def _metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _require_model_spec(request)
        check_metadata_fields(list(request.metadata_field))
        spec = request.model_spec
        return model_metadata(self._store, spec.name, version_of(spec), label_of(spec))


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus and HandleReloadConfigRequest.

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

    def HandleReloadConfigRequest(  # noqa: N802
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Replaces the list of models; answers once the new ones are available."""
        return _answer(context, lambda: self._reload(request, context))

    def _reload(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        self._store.reload(request.config.model_config_list.config, context.is_active)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = int(Code.OK)
        return response

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


def _require_model_spec(request: Message) -> None:
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
    context.abort(_GRPC_CODES[error.code], _cut(error.message))
    raise AssertionError("abort returned")


def _cut(message: str) -> str:
    content = message.encode("utf-8", "replace")
    if len(content) <= _MAX_MESSAGE_BYTES:
        return content.decode()
    return content[:_MAX_MESSAGE_BYTES].decode("utf-8", "ignore") + "...TRUNCATED"
