"""Arrays to the JSON of TF Serving's REST API and back."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2

from serving.client_types import Array, PredictError, TensorSpec
from serving.tensors import TensorError, as_bytes, dtype_of


def json_body(signature: str, inputs: Mapping[str, Array]) -> bytes:
    """The body of a columnar predict request.

    Raises:
        PredictError: INVALID_ARGUMENT, with the input's name: a type that JSON does not have.
    """
    values = {}
    for name, array in inputs.items():
        if array.dtype.kind not in "OUSbiuf":
            raise PredictError("INVALID_ARGUMENT", f"input {name}: {array.dtype} cannot be sent over REST; use gRPC")
        try:
            values[name] = _to_json(array)
        except TensorError as error:
            raise PredictError("INVALID_ARGUMENT", f"input {name}: {error}") from None
    return json.dumps({"signature_name": signature, "inputs": values}).encode()


def from_json(value: Any, spec: TensorSpec) -> Array:
    """An output as array; strings as object array of bytes."""
    if spec.data_type != types_pb2.DT_STRING:
        return np.array(value, dtype=dtype_of(spec.data_type))
    values = np.array(value, dtype=object)
    out = np.empty(values.shape, dtype=object)
    for index, item in np.ndenumerate(values):
        out[index] = (
            base64.b64decode(item["b64"]) if isinstance(item, dict) else item.encode("utf-8", "surrogateescape")
        )
    return out


def specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    """Reads the inputs or outputs of a signature in the metadata."""
    found = {}
    for name, info in infos.items():
        shape = info["tensor_shape"]
        sizes = None if shape["unknown_rank"] else tuple(int(dim["size"]) for dim in shape["dim"])
        found[name] = TensorSpec(types_pb2.DataType.Value(info["dtype"]), sizes)
    return found


def _to_json(array: Array) -> Any:
    if array.dtype.kind not in "OUS":
        return array.tolist()
    encoded = np.empty(array.size, dtype=object)
    encoded[:] = [{"b64": base64.b64encode(value).decode()} for value in as_bytes(array)]
    return encoded.reshape(array.shape).tolist()
