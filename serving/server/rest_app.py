"""TF Serving's REST API as an ASGI application."""

import asyncio
import logging
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.server.json_tensor import parse_body, read_inputs
from serving.server.json_writer import write_error, write_outputs
from serving.server.model_info import metadata_json, model_metadata, model_status, status_json
from serving.server.model_store import ModelStore
from serving.server.predictor import DEFAULT_SIGNATURE, predict
from serving.server.status import Code, ServingError, http_status, invalid

_log = logging.getLogger(__name__)

# The paths are matched whole, with the query string, before %-decoding: so does the real one.
_API = re.compile(r"/v1/.*", re.IGNORECASE | re.ASCII)
_VERSION_OR_LABEL = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_POST = re.compile(rf"/v1/models/([^/:]+){_VERSION_OR_LABEL}:(classify|regress|predict)", re.IGNORECASE | re.ASCII)
_GET = re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION_OR_LABEL}(?:/(metadata))?", re.IGNORECASE | re.ASCII)
_INT64_MAX = 2**63 - 1
_NOT_FOUND_PAGE = "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"


@dataclass(frozen=True)
class _Target:
    """What a path names.

    Attributes:
        name: The model; "" when the path has none.
        version: The version or None.
        label: The version label or None.
        verb: predict, classify, regress, metadata, or "" for the status.
    """

    name: str
    version: int | None
    label: str | None
    verb: str


class RestApp:
    """Predict, status and metadata over HTTP.

    Args:
        store: The loaded models.
        threads: Requests that run at once.
        max_body_bytes: Longest body taken, as sent and gunzipped; longer ones are answered with 413.
        timeout_ms: The work of a request is given up after this time, an operation that runs is not stopped; 0 = never.
    """

    def __init__(self, store: ModelStore, threads: int, max_body_bytes: int, timeout_ms: int = 30_000) -> None:
        self._store = store
        self._max_body_bytes = max_body_bytes
        self._timeout_ms = timeout_ms
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rest")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request (the ASGI entry point)."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            body = await self._body(request)
        except ClientDisconnect:
            return
        if body is None:
            await self._too_long("the request body")(scope, receive, send)
            return
        path = _raw_path(scope)
        origin = request.headers.get("origin", "")
        gzipped = request.headers.get("content-encoding", "").lower() == "gzip"
        loop = asyncio.get_running_loop()
        response = await loop.run_in_executor(self._pool, self._respond, request.method, path, body, origin, gzipped)
        await response(scope, receive, send)

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
        return Response(write_error(message), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, media_type="application/json")

    def _respond(self, method: str, path: str, body: bytes, origin: str, gzipped: bool) -> Response:
        if _API.fullmatch(path) is None:
            return Response(_NOT_FOUND_PAGE, 404, media_type="text/html")
        if method == "OPTIONS":
            return Response(status_code=200 if re.search("https?://", origin) else 400)
        try:
            target = _parse_target(method, path)
            if target.version is not None and target.version > _INT64_MAX:
                return Response(b"", 400, media_type="application/json")
            if gzipped:
                body = _inflate(body, self._max_body_bytes + 1)
                if len(body) > self._max_body_bytes:
                    return self._too_long("the gunzipped request body")
            content = self._handle(target, body)
        except ServingError as error:
            return _error_response(error)
        except Exception as error:
            _log.exception("a request failed unexpectedly")
            return _error_response(ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}"))
        return Response(content, media_type="application/json")

    def _handle(self, target: _Target, body: bytes) -> bytes | str:
        if target.verb == "predict":
            return self._predict(target, body)
        if target.verb in ("classify", "regress"):
            raise ServingError(Code.UNIMPLEMENTED, f"{target.verb} is not supported by this server; use predict")
        if not target.name:
            raise invalid("Missing model name in request.")
        if target.verb == "metadata":
            return metadata_json(model_metadata(self._store, target.name, target.version, target.label))
        return status_json(model_status(self._store, target.name, target.version))

    def _predict(self, target: _Target, body: bytes) -> bytes:
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


def _raw_path(scope: Scope) -> str:
    raw = scope.get("raw_path") or scope["path"].encode()
    path = raw + b"?" + scope["query_string"] if scope["query_string"] else raw
    return str(path.decode("latin-1"))


def _parse_target(method: str, path: str) -> _Target:
    pattern = {"POST": _POST, "GET": _GET}.get(method)
    match = pattern.fullmatch(path) if pattern else None
    if match is None:
        raise invalid(f"Malformed request: {method} {path}")
    name, version, label, verb = match.groups()
    # The pattern ignores case, the dispatch after it does not.
    if method == "POST" and verb not in ("classify", "regress", "predict"):
        raise invalid(f"Malformed request: {method} {path}")
    return _Target(
        name=unquote(name or "", errors="surrogateescape"),
        version=_version_number(version) if version else None,
        label=unquote(label, errors="surrogateescape") if label else None,
        verb=verb or "",
    )


def _version_number(digits: str) -> int:
    significant = digits.lstrip("0") or "0"
    # Python refuses to read very long numbers; all of them are above int64.
    return int(significant) if len(significant) <= 19 else _INT64_MAX + 1


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
    return Response(write_error(error.message), http_status(error.code), media_type="application/json")
