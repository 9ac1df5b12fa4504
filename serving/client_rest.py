"""The client's REST side."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2

from serving.client_types import PredictError, Signature, TensorSpec
from serving.tensors import dtype_of

Arrays = Mapping[str, NDArray[np.generic]]

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


class RestTransport:
    """Sends columnar JSON.

    Args:
        address: `host:port` or a URL.
    """

    def __init__(self, address: str) -> None:
        self._url = (address if "://" in address else f"http://{address}").rstrip("/")
        self._http = httpx.Client()

    def predict(
        self, inputs: Arrays, signature: Signature, model: str, version: int | None, timeout_s: float
    ) -> dict[str, NDArray[np.generic]]:
        """Runs a signature and gives its outputs.

        Raises:
            PredictError: The server refused or failed, was not reached, or the deadline passed.
        """
        body = {"signature_name": signature.name, "inputs": {name: _to_json(array) for name, array in inputs.items()}}
        content = json.dumps(body).encode()
        answer = self._ask("POST", f"{_path(model, version)}:predict", timeout_s, content)["outputs"]
        if len(signature.outputs) == 1:
            answer = {next(iter(signature.outputs)): answer}
        return {name: _from_json(value, signature.outputs[name]) for name, value in answer.items()}

    def signatures(self, model: str, version: int | None, timeout_s: float) -> dict[str, Signature]:
        """Asks for the signatures of a model.

        Raises:
            PredictError: As for `predict`.
        """
        answer = self._ask("GET", f"{_path(model, version)}/metadata", timeout_s)
        defs = answer["metadata"]["signature_def"]["signature_def"]
        return {
            name: Signature(name, _specs(definition["inputs"]), _specs(definition["outputs"]))
            for name, definition in defs.items()
        }

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _ask(self, method: str, path: str, timeout_s: float, content: bytes | None = None) -> dict[str, Any]:
        try:
            response = self._http.request(method, self._url + path, content=content, timeout=timeout_s)
        except httpx.TimeoutException:
            message = f"no answer from {self._url} within {timeout_s} s"
            raise PredictError("DEADLINE_EXCEEDED", message) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PredictError("UNAVAILABLE", f"no answer from {self._url} over REST: {error}") from None
        try:
            # Strings come as the bytes they are, UTF-8 or not.
            answer = json.loads(response.content.decode("utf-8", "surrogateescape"))
        except ValueError:
            raise PredictError(
                "INTERNAL", f"{self._url}{path} answered {response.status_code} without JSON; is it a model server?"
            ) from None
        if response.status_code != httpx.codes.OK:
            code = _CODES.get(response.status_code, "UNKNOWN")
            raise PredictError(code, str(answer.get("error", answer)))
        return dict(answer)


def _path(model: str, version: int | None) -> str:
    return f"/v1/models/{model}" + (f"/versions/{version}" if version is not None else "")


def _to_json(array: NDArray[np.generic]) -> Any:
    if array.dtype.kind not in "OUS":
        return array.tolist()
    values = [value.encode() if isinstance(value, str) else bytes(value) for value in array.reshape(-1).tolist()]
    encoded = np.empty(len(values), dtype=object)
    encoded[:] = [{"b64": base64.b64encode(value).decode()} for value in values]
    return encoded.reshape(array.shape).tolist()


def _from_json(value: Any, spec: TensorSpec) -> NDArray[np.generic]:
    if spec.data_type != types_pb2.DT_STRING:
        return np.array(value, dtype=dtype_of(spec.data_type))
    values = np.array(value, dtype=object)
    out = np.empty(values.shape, dtype=object)
    for index, item in np.ndenumerate(values):
        out[index] = _to_bytes(item)
    return out


def _to_bytes(value: str | dict[str, str]) -> bytes:
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode("utf-8", "surrogateescape")


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    specs = {}
    for name, info in infos.items():
        shape = info["tensor_shape"]
        sizes = None if shape["unknown_rank"] else tuple(int(dim["size"]) for dim in shape["dim"])
        specs[name] = TensorSpec(types_pb2.DataType.Value(info["dtype"]), sizes)
    return specs
