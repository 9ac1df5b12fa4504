"""Nested JSON lists to dense arrays, by TF Serving's rules of types and shapes."""

import base64
import binascii
import re
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2

from serving.server.json_text import dump
from serving.server.serving_error import Code, ServingError, invalid
from serving.tensors import dtype_of, type_name

Array = NDArray[np.generic]

_SPACE = re.compile(r"[ \t\n\v\f\r]+")
# NumPy's limit; TensorFlow's own is 254.
_MAX_RANK = 32
_INT32_TYPES = {types_pb2.DT_INT32, types_pb2.DT_INT16, types_pb2.DT_INT8, types_pb2.DT_UINT8}
_INT_RANGES: dict[int, tuple[int, int]] = {
    **dict.fromkeys(_INT32_TYPES, (-(2**31), 2**31 - 1)),
    types_pb2.DT_INT64: (-(2**63), 2**63 - 1),
    types_pb2.DT_UINT32: (0, 2**32 - 1),
    types_pb2.DT_UINT64: (0, 2**64 - 1),
}
# Largest integer up to which every integer has an exact float, and largest float.
_FLOAT_LIMITS: dict[int, tuple[int, float]] = {
    types_pb2.DT_FLOAT: (2**24 - 1, float(np.finfo(np.float32).max)),
    types_pb2.DT_DOUBLE: (2**53 - 1, float(np.finfo(np.float64).max)),
}


def to_array(value: Any, data_type: int) -> Array:
    """Makes a dense array of nested lists.

    Args:
        value: A JSON value: a scalar, or lists of equal lengths nested to one depth.
        data_type: `DataType` number the values must have.

    Returns:
        The array; strings as an object array of bytes.

    Raises:
        ServingError: INVALID_ARGUMENT, a ragged list or a value of another type; UNIMPLEMENTED, a type without JSON
            form.
    """
    shape: list[int] = []
    flat: list[Any] = [value]
    while flat and type(flat[0]) is list:
        size = len(flat[0])
        if not all(type(item) is list and len(item) == size for item in flat):
            raise _first_error(value, data_type)
        shape.append(size)
        flat = list(chain.from_iterable(flat))
    array = _leaves(flat, data_type)
    if array is None:
        raise _first_error(value, data_type)
    if len(shape) > _MAX_RANK:
        raise invalid(
            f"lists are nested {len(shape)} deep; tensors of more than {_MAX_RANK} dimensions are not supported"
        )
    return array.reshape(shape)


def is_base64(value: Any) -> bool:
    """Whether a value is a string in base64: an object of the one key "b64"."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def type_text(value: Any) -> str:
    """RapidJSON's name of a value's type."""
    if isinstance(value, bool):
        return str(value)
    names = {type(None): "Null", dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def _leaves(flat: list[Any], data_type: int) -> Array | None:
    """Converts values of one type at once; None when any does not fit."""
    types = set(map(type, flat))
    if not types:
        return np.empty(0, dtype=dtype_of(data_type))
    if data_type in _INT_RANGES:
        if types != {int}:
            return None
        low, high = _INT_RANGES[data_type]
        if not (low <= min(flat) and max(flat) <= high):
            return None
        wide = np.uint64 if data_type == types_pb2.DT_UINT64 else np.int64
        return np.array(flat, dtype=wide).astype(dtype_of(data_type), copy=False)
    if data_type in _FLOAT_LIMITS:
        return _floats(flat, data_type) if types <= {int, float} else None
    if data_type == types_pb2.DT_BOOL:
        return np.array(flat, dtype=np.bool_) if types == {bool} else None
    if data_type == types_pb2.DT_STRING and types <= {str, dict}:
        out = np.empty(len(flat), dtype=object)
        for index, value in enumerate(flat):
            out[index] = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else _unbase64(value)
        return out
    return None


def _floats(flat: list[Any], data_type: int) -> Array | None:
    exact, largest = _FLOAT_LIMITS[data_type]
    values = np.array(flat, dtype=np.float64)
    size = np.abs(values)
    if np.any(np.isfinite(size) & (size > largest)):
        return None
    if any(type(flat[index]) is int and -(2**63) <= flat[index] < 2**64 for index in np.flatnonzero(size > exact)):
        return None
    return values.astype(dtype_of(data_type), copy=False)


def _first_error(value: Any, data_type: int) -> ServingError:
    shape = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner:
            break
        inner = inner[0]
    try:
        _walk(value, 0, shape, data_type)
    except ServingError as error:
        return error
    return ServingError(Code.INTERNAL, "the value cannot be made a tensor")


def _walk(value: Any, level: int, shape: list[int], data_type: int) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {dump(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at level: "
                f"{len(shape)}"
            )
        _check_leaf(value, data_type)
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        _walk(item, level + 1, shape, data_type)


def _check_leaf(value: Any, data_type: int) -> None:
    if isinstance(value, dict) and data_type == types_pb2.DT_STRING:
        _unbase64(value)
        return
    convertible = data_type in {*_INT_RANGES, *_FLOAT_LIMITS, types_pb2.DT_BOOL, types_pb2.DT_STRING}
    if not convertible and not isinstance(value, dict):
        raise ServingError(
            Code.UNIMPLEMENTED, f"Conversion of JSON Value: {dump(value)} to type: {type_name(data_type)}"
        )
    if not convertible or _leaves([value], data_type) is None:
        if data_type in _FLOAT_LIMITS and type(value) in (int, float):
            raise invalid(
                f"Cannot convert JSON value: {dump(value)} to {type_name(data_type)} without loss of precision."
            )
        raise invalid(
            f"JSON Value: {dump(value)} Type: {type_text(value)} is not of expected type: {type_name(data_type)}"
        )


def _unbase64(value: dict[str, Any]) -> bytes:
    if not is_base64(value):
        raise invalid(f"JSON Value: {dump(value)} not formatted correctly for base64 data")
    text = _SPACE.sub("", value["b64"])
    data = text.rstrip("=.")
    pads, expected = len(text) - len(data), -len(data) % 4
    # Padding may be left out, but not be wrong.
    if pads not in (0, expected):
        raise invalid("Unable to base64 decode")
    try:
        return base64.b64decode(data + "=" * expected, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None
