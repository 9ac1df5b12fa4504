"""What every gRPC call passes through: the limit of calls at once, and the metrics."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from serving.server.request_metrics import begin_request, count_examples, end_request

# Threads beyond the limit, which turn away the calls above it.
SPARE_THREADS = 2
# Calls above the limit that may wait to be turned away; gRPC itself refuses those beyond.
MAX_WAITING_CALLS = 256
# So long may a call whose message does not come hold a place that another call wants.
_STALLED_S = 10.0
_HEALTH = "/grpc.health.v1.Health/"
_PREDICTION = "/tensorflow.serving.PredictionService/"
_COUNTED = ("Predict", "Classify", "Regress", "MultiInference")

Behaviour = Callable[[Any, grpc.ServicerContext], Any]


class CallInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Lets so many calls run at once and no more, and counts the predictions.

    A call above the limit is refused with RESOURCE_EXHAUSTED before its message is read, so it costs neither memory nor
    decoding. It ends those that were taken but have not brought their message for `stalled_s`. A call whose client has
    gone is not begun. Health checks are outside the limit.

    Args:
        limit: Calls at once.
        stalled_s: After this time a call must have brought its message, where others are refused.
    """

    def __init__(self, limit: int, stalled_s: float = _STALLED_S) -> None:
        self._limit = limit
        self._stalled_s = stalled_s
        # Calls whose message is not read yet, and since when.
        self._unread: dict[grpc.ServicerContext, float] = {}
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
                self._end_stalled()
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
            try:
                with self._reading(context):
                    message = next(messages, None)
                request = _read(method, message, handler.request_deserializer, context)
                return behaviour(request, context)
            finally:
                with self._lock:
                    self._running -= 1

        # To the client a call of one message; to gRPC a stream, of which the message is read only when asked for.
        return grpc.stream_unary_rpc_method_handler(call, None, handler.response_serializer)

    @contextmanager
    def _reading(self, context: grpc.ServicerContext) -> Iterator[None]:
        with self._lock:
            self._unread[context] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._unread[context]

    def _end_stalled(self) -> None:
        before = time.monotonic() - self._stalled_s
        with self._lock:
            stalled = [context for context, since in self._unread.items() if since < before]
        for context in stalled:
            context.cancel()


def _read(
    method: str, message: bytes | None, deserialize: Callable[[bytes], Any], context: grpc.ServicerContext
) -> Any:
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
