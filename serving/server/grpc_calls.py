"""What every gRPC call passes through: the limit of calls at once, and the metrics."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from serving.server.request_metrics import begin_request, count_examples, end_request

# Threads beyond the limit, which turn away the calls above it.
SPARE_THREADS = 2
# Calls above the limit that may wait to be turned away; gRPC itself refuses those beyond.
MAX_WAITING_CALLS = 256
_HEALTH = "/grpc.health.v1.Health/"
_PREDICTION = "/tensorflow.serving.PredictionService/"
_COUNTED = ("Predict", "Classify", "Regress", "MultiInference")

Behaviour = Callable[[Any, grpc.ServicerContext], Any]


class CallInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Lets so many calls run at once and no more, and counts the predictions.

    A call above the limit is refused with RESOURCE_EXHAUSTED before its message is read, so it costs neither memory nor
    decoding. A call whose client has gone is not begun. Health checks are outside the limit.

    Args:
        limit: Calls at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running = 0
        self._lock = threading.Lock()
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """The handler of a call, wrapped."""
        method = handler_call_details.method
        known = self._handlers.get(method)
        if known is not None:
            return known
        handler = continuation(handler_call_details)
        if handler is None or method.startswith(_HEALTH):
            return handler
        self._handlers[method] = self._limited(method, handler)
        return self._handlers[method]

    def running(self) -> int:
        """How many calls run now."""
        with self._lock:
            return self._running

    def _limited(self, method: str, handler: Any) -> grpc.RpcMethodHandler:
        api = method.removeprefix(_PREDICTION)
        behaviour = _counted(api, handler.unary_unary) if api in _COUNTED else handler.unary_unary

        def call(messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            with self._lock:
                taken = self._running < self._limit
                self._running += taken
            if not taken:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
            try:
                request = _read(method, messages, handler.request_deserializer, context)
                return behaviour(request, context)
            finally:
                with self._lock:
                    self._running -= 1

        # To the client a call of one message; to gRPC a stream, of which the message is read only when asked for.
        return grpc.stream_unary_rpc_method_handler(call, None, handler.response_serializer)


def _read(
    method: str, messages: Iterator[bytes], deserialize: Callable[[bytes], Any], context: grpc.ServicerContext
) -> Any:
    message = next(messages, None)
    if not context.is_active():
        context.abort(grpc.StatusCode.CANCELLED, "the client has gone")
    if message is None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f'"{method}" requires exactly one request message.')
    try:
        return deserialize(message)
    except Exception:  # protobuf's DecodeError has no common public home over its versions
        context.abort(grpc.StatusCode.INTERNAL, "Exception deserializing request!")


def _counted(api: str, behaviour: Behaviour) -> Behaviour:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        began = begin_request()
        name = _model_name(request, api)
        status = "UNKNOWN"
        try:
            response = behaviour(request, context)
            status = "OK"
        except BaseException:
            code = context.code()  # type: ignore[attr-defined]
            status = code.name if code is not None else status
            raise
        finally:
            end_request(began, name, api, "GRPC", status)
        if api != "Predict":
            count_examples(name, _example_count(request.input))
        return response

    return call


def _model_name(request: Any, api: str) -> str:
    if api != "MultiInference":
        return str(request.model_spec.name)
    return str(request.tasks[0].model_spec.name) if request.tasks else ""


def _example_count(examples: Any) -> int:
    kind = examples.WhichOneof("kind")
    return len(getattr(examples, kind).examples) if kind else 0
