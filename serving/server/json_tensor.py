"""REST predict bodies to named arrays."""

import enum
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.json_parser import parse_json
from serving.server.json_text import dump
from serving.server.json_values import is_base64, to_array
from serving.server.serving_error import Code, ServingError, invalid

Array = NDArray[np.generic]
Inputs = Mapping[str, meta_graph_pb2.TensorInfo]


class Format(enum.Enum):
    """The two forms of a predict body."""

    ROW = "instances"
    COLUMNAR = "inputs"


def parse_body(body: bytes) -> tuple[str, dict[str, Any]]:
    """Parses a predict, classify or regress body.

    Args:
        body: The HTTP body.

    Returns:
        The signature's name ("" when the body names none) and the whole object.

    Raises:
        ServingError: INVALID_ARGUMENT, no JSON object or a signature name that is no string.
    """
    document = parse_json(body)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {dump(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {dump(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name, document


def read_inputs(document: dict[str, Any], inputs: Inputs) -> tuple[Format, dict[str, Array]]:
    """Makes the input arrays from a parsed predict body.

    Args:
        document: The object of `parse_body`.
        inputs: The signature's inputs.

    Returns:
        The form of the body, which is the form of the answer, and input name to value.

    Raises:
        ServingError: INVALID_ARGUMENT (UNIMPLEMENTED for types without JSON form): both or neither of "instances" and
            "inputs", wrong types, ragged lists, missing or unexpected names.
    """
    keys = [form for form in Format if form.value in document]
    if len(keys) == 2:
        raise invalid(
            f"JSON Value: {dump(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
            "to exist "
        )
    if not keys:
        raise invalid("Missing 'inputs' or 'instances' key")
    if keys[0] is Format.COLUMNAR:
        return Format.COLUMNAR, _read_columns(document["inputs"], inputs)
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {dump(document)} Excepting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {dump(document)} No values in 'instances' array")
    return Format.ROW, _read_rows(rows, inputs)


def _read_columns(value: Any, inputs: Inputs) -> dict[str, Array]:
    if not isinstance(value, dict) or is_base64(value):
        if len(inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        return {name: to_array(value, info.dtype) for name, info in inputs.items()}
    out = {}
    for name, info in inputs.items():
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        out[name] = to_array(value[name], info.dtype)
    return out


def _read_rows(rows: list[Any], inputs: Inputs) -> dict[str, Array]:
    if not isinstance(rows[0], dict) and len(inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    named = _is_named(rows[0])
    try:
        if not named:
            name = next(iter(inputs))
            return {name: to_array(rows, inputs[name].dtype)}
        if all(_is_named(row) and row.keys() == inputs.keys() for row in rows):
            return {name: to_array([row[name] for row in rows], info.dtype) for name, info in inputs.items()}
    except ServingError:
        pass  # the error of the first wrong row is worded per row
    raise _first_row_error(rows, inputs, named)


def _first_row_error(rows: list[Any], inputs: Inputs, named: bool) -> ServingError:
    """Finds what the fast path refused, in the order in which TF Serving looks."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, row in enumerate(rows):
        if named != _is_named(row):
            found = "Expecting object but got list" if named else "Expecting value/list but got object"
            return invalid(f"{found} at item {index} of input list")
        items = row.items() if named else [(next(iter(inputs)), row)]
        for name, value in items:
            try:
                _check_item(value, name, inputs, shapes)
            except ServingError as error:
                key = f" key: {name}" if named else ""
                return invalid(f"Failed to process element: {index}{key} of 'instances' list. Error: {error}")
        if named and row.keys() != inputs.keys():
            return invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {dump(row)} must only have "
                f"keys: {','.join(sorted(inputs))}"
            )
    return ServingError(Code.INTERNAL, "the rows cannot be made one tensor")


def _check_item(value: Any, name: str, inputs: Inputs, shapes: dict[str, tuple[int, ...]]) -> None:
    if name not in inputs:
        raise invalid(f"JSON object: does not have named input: {name}")
    shape = to_array(value, inputs[name].dtype).shape
    expected = shapes.setdefault(name, shape)
    if math.prod(shape) != math.prod(expected):
        raise invalid(f"Expecting tensor size: {math.prod(expected)} but got: {math.prod(shape)}")
    if shape != expected:
        raise invalid(f"Expecting shape {_shape_text(expected)} but got: {_shape_text(shape)}")


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
