"""The clients' REST side: requests and answers, and the two ways to exchange them."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from serving.client_json import from_json, json_body, specs
from serving.client_types import Array, Call, PredictError, Prediction, Signature, Steps

# The HTTP status does not say which of the statuses that share it was meant; these are the usual ones.
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RestProtocol:
    """Makes requests in columnar JSON, and reads the answers."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int | None], dict[str, Signature]] = {}

    def predict(
        self,
        inputs: Mapping[str, Array],
        signature: str,
        model: str,
        version: int | None,
        outputs: Sequence[str],
        timeout_s: float,
    ) -> Steps[Prediction]:
        """Runs a signature; the model's signatures are asked for before the first use.

        Raises:
            PredictError: An input cannot be sent, the signature or an output is not there, or the answer is an error.
        """
        started = time.perf_counter()
        spec = yield from self._signature(signature, model, version, timeout_s)
        unknown = [name for name in outputs if name not in spec.outputs]
        if unknown:
            raise PredictError(
                "INVALID_ARGUMENT", f"signature {signature} has no outputs {unknown}; it has {sorted(spec.outputs)}"
            )
        body = json_body(signature, inputs)
        left_s = max(0.001, timeout_s - (time.perf_counter() - started))
        answer = _read((yield Call(f"POST {_path(model, version)}:predict", body, left_s)))
        try:
            values = answer["outputs"]
            if len(spec.outputs) == 1:
                values = {next(iter(spec.outputs)): values}
            found = {name: from_json(values[name], spec.outputs[name]) for name in outputs or values}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            # A new version may have other outputs than the one whose signature is known.
            self._known.pop((model, version), None)
            message = f"the answer does not fit the outputs {sorted(spec.outputs)} of signature {signature}: {error!r}"
            raise PredictError("DATA_LOSS", message) from None
        return Prediction(found, None, (time.perf_counter() - started) * 1e3)

    def signatures(self, model: str, version: int | None, timeout_s: float) -> Steps[dict[str, Signature]]:
        """Asks for the signatures of a model.

        Raises:
            PredictError: The answer is an error, or no metadata.
        """
        answer = _read((yield Call(f"GET {_path(model, version)}/metadata", None, timeout_s)))
        try:
            found = [
                Signature(name, specs(definition["inputs"]), specs(definition["outputs"]))
                for name, definition in answer["metadata"]["signature_def"]["signature_def"].items()
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PredictError("DATA_LOSS", f"the metadata of model {model} cannot be read: {error!r}") from None
        return {signature.name: signature for signature in found if not signature.is_internal}

    def _signature(self, name: str, model: str, version: int | None, timeout_s: float) -> Steps[Signature]:
        """A signature, asked for once: JSON names neither dtypes nor, for one output, the output."""
        key = (model, version)
        if name not in self._known.get(key, {}):
            self._known[key] = yield from self.signatures(model, version, timeout_s)
        if name not in self._known[key]:
            known = ", ".join(sorted(self._known[key]))
            raise PredictError("INVALID_ARGUMENT", f'model {model} has no signature "{name}"; it has {known}')
        return self._known[key][name]


class RestTransport:
    """Connections that block.

    Args:
        address: `host:port` or a URL.
    """

    def __init__(self, address: str) -> None:
        self._url = _url(address)
        self._http = httpx.Client()

    def send(self, call: Call) -> httpx.Response:
        """Makes a call and gives the response.

        Connecting, sending and waiting for the answer may each take the whole timeout; receiving it ends with it.

        Raises:
            PredictError: The server was not reached, or the deadline passed.
        """
        method, path = call.method.split(" ", 1)
        end = time.monotonic() + call.timeout_s
        with (
            _errors(self._url, call.timeout_s),
            self._http.stream(method, self._url + path, content=call.body, timeout=call.timeout_s) as response,
        ):
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                # httpx limits the time between two chunks, not that of all.
                if time.monotonic() > end:
                    raise httpx.ReadTimeout("the answer came too slowly")
            return httpx.Response(response.status_code, content=bytes(content), request=response.request)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()


class AsyncRestTransport:
    """`RestTransport` for an event loop."""

    def __init__(self, address: str) -> None:
        self._url = _url(address)
        self._http = httpx.AsyncClient(timeout=None)

    async def send(self, call: Call) -> httpx.Response:
        """As `RestTransport.send`; the timeout is for all of it, and cancelling it drops the connection."""
        method, path = call.method.split(" ", 1)
        with _errors(self._url, call.timeout_s):
            async with asyncio.timeout(call.timeout_s):
                return await self._http.request(method, self._url + path, content=call.body)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()


def _url(address: str) -> str:
    return (address if "://" in address else f"http://{address}").rstrip("/")


@contextmanager
def _errors(url: str, timeout_s: float) -> Iterator[None]:
    try:
        yield
    except (httpx.TimeoutException, TimeoutError):
        raise PredictError("DEADLINE_EXCEEDED", f"no answer from {url} within {timeout_s:.3g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PredictError("UNAVAILABLE", f"no answer from {url} over REST: {error}") from None


def _read(response: httpx.Response) -> dict[str, Any]:
    try:
        # Strings come as the bytes they are, UTF-8 or not.
        answer = json.loads(response.content.decode("utf-8", "surrogateescape"))
        if not isinstance(answer, dict):
            raise ValueError("no object")
    except ValueError:
        raise PredictError(
            "INTERNAL", f"{response.url} answered {response.status_code} without JSON; is it a model server?"
        ) from None
    if response.status_code != httpx.codes.OK:
        raise PredictError(_CODES.get(response.status_code, "UNKNOWN"), str(answer.get("error", answer)))
    return answer


def _path(model: str, version: int | None) -> str:
    return f"/v1/models/{quote(model, safe='')}" + (f"/versions/{version}" if version is not None else "")
