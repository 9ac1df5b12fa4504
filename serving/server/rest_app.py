"""TF Serving's REST API as an ASGI application."""

import asyncio
import logging
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.server.inference import classify, regress
from serving.server.json_examples import read_examples, write_classes, write_regressions
from serving.server.json_tensor import parse_body, read_inputs
from serving.server.json_writer import write_error, write_outputs
from serving.server.model_info import metadata_json, model_metadata, model_status, status_json
from serving.server.model_store import ModelStore
from serving.server.predictor import DEFAULT_SIGNATURE, predict
from serving.server.request_metrics import count_examples, counted_request
from serving.server.rest_path import Target, VersionTooLargeError, is_api, parse_target
from serving.server.serving_error import Code, ServingError, http_status, invalid

_log = logging.getLogger(__name__)

_JSON = {"content-type": "application/json"}
# The web server under TF Serving words these two.
_PAGE = {"content-type": "text/html", "connection": "close"}
_NO_TYPE = {"content-type": "text/html; charset=ISO-8859-1"}
_NOT_FOUND_PAGE = "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
# A body must have come in this time, and an answer been taken; who is slower holds a place that others want.
_TRANSFER_S = 60.0
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "POST, GET",
    "access-control-allow-headers": "Content-Type",
}


class RestApp:
    """Predict, classify, regress, status and metadata over HTTP.

    Differences from TF Serving: bodies are limited to `max_body_bytes` and to the time they take; a body that is not
    valid gzip is called that, not an empty document; lists nested beyond 32 dimensions are refused; a "?" with nothing
    after it is not part of the path.

    Args:
        store: The loaded models.
        threads: Requests that run at once.
        max_body_bytes: Longest body taken, as sent and gunzipped; longer ones are answered with 413.
        timeout_ms: The work of a request is given up after this time, an operation that runs is not stopped; 0 = never.
        enable_cors: Let web pages of any origin read the answers.
        check_method_names: Classify and regress only with signatures whose method name says so.
        transfer_s: Longest time a body may take to come (then 408), and an answer to be taken (then the connection is
            closed).
    """

    def __init__(
        self,
        store: ModelStore,
        threads: int,
        max_body_bytes: int,
        timeout_ms: int = 30_000,
        enable_cors: bool = False,
        check_method_names: bool = False,
        transfer_s: float = _TRANSFER_S,
    ) -> None:
        self._store = store
        self._max_body_bytes = max_body_bytes
        self._timeout_ms = timeout_ms
        self._api_headers = _CORS if enable_cors else {}
        self._check_method_names = check_method_names
        self._transfer_s = transfer_s
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rest")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request (the ASGI entry point)."""
        if scope["type"] != "http":
            return
        try:
            response = await self._answer(Request(scope, receive), _raw_path(scope))
        except ClientDisconnect:
            return
        try:
            async with asyncio.timeout(self._transfer_s):
                await response(scope, receive, send)
        except TimeoutError:
            _log.warning("a client did not take its answer within %g s", self._transfer_s)

    async def _answer(self, request: Request, path: str) -> Response:
        try:
            async with asyncio.timeout(self._transfer_s):
                body = await self._body(request)
        except TimeoutError:
            message = f"the request body did not come within {self._transfer_s:g} s"
            return Response(write_error(message), HTTPStatus.REQUEST_TIMEOUT, {**_JSON, "connection": "close"})
        if not is_api(path):
            return Response(_NOT_FOUND_PAGE, 404, _PAGE)
        loop = asyncio.get_running_loop()
        response = await loop.run_in_executor(self._pool, self._respond, request, path, body)
        response.headers.update(self._api_headers)
        return response

    async def _body(self, request: Request) -> bytes | None:
        """The body, or None when it is too long: read to its end all the same, so that the client hears why."""
        chunks: list[bytes] = []
        length = 0
        async for chunk in request.stream():
            length += len(chunk)
            if length <= self._max_body_bytes:
                chunks.append(chunk)
            else:
                chunks.clear()
        return b"".join(chunks) if length <= self._max_body_bytes else None

    def _too_long(self, what: str) -> Response:
        message = (
            f"{what} is longer than the {self._max_body_bytes} bytes this server takes; send fewer rows at a time, or "
            "start the server with a higher limit"
        )
        return Response(write_error(message), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _JSON)

    def _respond(self, request: Request, path: str, body: bytes | None) -> Response:
        if body is None:
            return self._too_long("the request body")
        if request.method == "OPTIONS":
            known = re.search("https?://", request.headers.get("origin", ""))
            return Response(b"", 200 if known else 400, _NO_TYPE)
        try:
            target = parse_target(request.method, path)
            if "gzip" in request.headers.get("content-encoding", ""):
                body = _inflate(body, self._max_body_bytes + 1)
                if len(body) > self._max_body_bytes:
                    return self._too_long("the gunzipped request body")
            return Response(self._handle(target, body), 200, _JSON)
        except VersionTooLargeError:
            return Response(b"", 400, _JSON)
        except ServingError as error:
            return _error_response(error)
        except RecursionError:
            return _error_response(invalid("JSON Parse error: the lists are nested too deeply"))
        except Exception as error:
            _log.exception("a request failed unexpectedly")
            return _error_response(ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}"))

    def _handle(self, target: Target, body: bytes) -> bytes | str:
        if target.verb in ("predict", "classify", "regress"):
            with counted_request(target.name, target.verb, "REST"):
                return self._predict(target, body) if target.verb == "predict" else self._infer(target, body)
        if not target.name:
            raise invalid("Missing model name in request.")
        if target.verb == "metadata":
            return metadata_json(model_metadata(self._store, target.name, target.version, target.label))
        return status_json(model_status(self._store, target.name, target.version))

    def _predict(self, target: Target, body: bytes) -> bytes:
        name, document = parse_body(body)
        with self._store.lease(target.name, target.version, target.label) as (_, servable):
            signature = servable.signatures.get(name or DEFAULT_SIGNATURE)
            if signature is None:
                raise invalid(f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def')
            if not signature.inputs:
                raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
            form, inputs = read_inputs(document, signature.inputs)
            outputs = predict(servable, signature, inputs, timeout_ms=self._timeout_ms)
        return write_outputs(form, outputs, signature.outputs)

    def _infer(self, target: Target, body: bytes) -> bytes:
        name, document = parse_body(body)
        examples = read_examples(document)
        with self._store.lease(target.name, target.version, target.label) as (_, servable):
            if target.verb == "classify":
                answer = write_classes(classify(servable, name, examples, self._timeout_ms, self._check_method_names))
            else:
                answer = write_regressions(
                    regress(servable, name, examples, self._timeout_ms, self._check_method_names)
                )
        count_examples(target.name, len(examples))
        return answer


def _raw_path(scope: Scope) -> str:
    raw = scope.get("raw_path") or scope["path"].encode()
    path = raw + b"?" + scope["query_string"] if scope["query_string"] else raw
    return str(path.decode("utf-8", "surrogateescape"))


def _inflate(body: bytes, max_bytes: int) -> bytes:
    """The unpacked body, cut at `max_bytes`."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacker.decompress(body, max_bytes)
    except zlib.error as error:
        raise invalid(f"the body is not valid gzip: {error}") from None
    if not unpacker.eof and len(unpacked) < max_bytes:
        raise invalid("the body is not valid gzip: it is incomplete")
    return unpacked


def _error_response(error: ServingError) -> Response:
    return Response(write_error(error.message), http_status(error.code), _JSON)
