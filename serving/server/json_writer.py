"""Arrays to REST predict answers, character for character as TF Serving prints them."""

import base64
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.json_tensor import Format
from serving.server.json_text import DOUBLE_DIGITS, FLOAT_DIGITS, INDENT, decimal_texts, quote
from serving.server.serving_error import invalid
from serving.tensors import type_name

Array = NDArray[np.generic]

_MAX_DIGITS: dict[int, int] = {types_pb2.DT_FLOAT: FLOAT_DIGITS, types_pb2.DT_DOUBLE: DOUBLE_DIGITS}
_INTS = {
    types_pb2.DT_INT32,
    types_pb2.DT_INT16,
    types_pb2.DT_INT8,
    types_pb2.DT_UINT8,
    types_pb2.DT_INT64,
    types_pb2.DT_UINT32,
    types_pb2.DT_UINT64,
}


def write_outputs(form: Format, outputs: Mapping[str, Array], infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> bytes:
    """Prints the answer to a predict request.

    Args:
        form: Row ("predictions") or columnar ("outputs"), as the request was.
        outputs: Output name to value.
        infos: The signature's outputs.

    Returns:
        The body: UTF-8, except for string tensors that hold other bytes.

    Raises:
        ServingError: INVALID_ARGUMENT, no output or one without JSON form, or in row form outputs of rank 0 or of
            unequal first dimension.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    text = _rows(outputs, infos) if form is Format.ROW else _columns(outputs, infos)
    return text.encode("utf-8", "surrogateescape")


def write_error(message: str) -> bytes:
    """Prints an error body."""
    return f'{{\n    "error": {quote(message)}\n}}'.encode("utf-8", "surrogateescape")


def _columns(outputs: Mapping[str, Array], infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> str:
    several = len(outputs) > 1
    depth = 2 if several else 1
    rendered = {}
    for name, array in outputs.items():
        tokens = iter(_tokens(name, array, infos[name].dtype, depth + array.ndim))
        rendered[name] = _multi_line(tokens, array.shape, depth)
    if not several:
        return f'{{\n    "outputs": {next(iter(rendered.values()))}\n}}'
    pad = " " * INDENT * 2
    members = ",\n".join(f"{pad}{quote(name)}: {text}" for name, text in rendered.items())
    return f'{{\n    "outputs": {{\n{members}\n    }}\n}}'


def _rows(outputs: Mapping[str, Array], infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> str:
    batch = _batch_size(outputs)
    several = len(outputs) > 1
    depth = 3 if several else 2
    columns = {}
    for name, array in outputs.items():
        tokens = iter(_tokens(name, array, infos[name].dtype, depth + array.ndim - 1))
        columns[name] = [_single_line(tokens, array.shape[1:]) for _ in range(batch)]
    if not several:
        # The peculiar place of the closing bracket is the real one.
        return f'{{\n    "predictions": [{", ".join(next(iter(columns.values())))}\n    ]\n}}'
    pad = " " * INDENT * 2
    rows = []
    for index in range(batch):
        members = ",\n".join(f"{pad}    {quote(name)}: {column[index]}" for name, column in columns.items())
        rows.append(f"{pad}{{\n{members}\n{pad}}}")
    body = ",\n".join(rows)
    return f'{{\n    "predictions": [\n{body}\n    ]\n}}'


def _batch_size(outputs: Mapping[str, Array]) -> int:
    batch = 0
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        size = array.shape[0]
        if size < 1:
            raise invalid(f"Tensor name: {name} has invalid batch size: {size}")
        if batch and batch != size:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {size} expecting: {batch}")
        batch = size
    return batch


def _tokens(name: str, array: Array, data_type: int, depth: int) -> list[str]:
    """The printed values in row-major order; `depth` counts the brackets open around each."""
    if data_type in _MAX_DIGITS:
        return decimal_texts(array, _MAX_DIGITS[data_type])
    flat = array.reshape(-1).tolist()
    if data_type in _INTS:
        return list(map(str, flat))
    if data_type == types_pb2.DT_BOOL:
        return ["true" if value else "false" for value in flat]
    if data_type != types_pb2.DT_STRING and flat:
        raise invalid(f"Failed to write JSON value for tensor type: {type_name(data_type)}")
    if not name.endswith("_bytes"):
        return [quote(value.decode("utf-8", "surrogateescape")) for value in flat]
    inner, outer = " " * INDENT * (depth + 1), " " * INDENT * depth
    return [f'{{\n{inner}"b64": "{base64.b64encode(value).decode()}"\n{outer}}}' for value in flat]


def _single_line(tokens: Iterator[str], shape: tuple[int, ...]) -> str:
    if not shape:
        return next(tokens)
    return f"[{', '.join(_single_line(tokens, shape[1:]) for _ in range(shape[0]))}]"


def _multi_line(tokens: Iterator[str], shape: tuple[int, ...], depth: int) -> str:
    if not shape:
        return next(tokens)
    if shape[0] == 0:
        return "[]"
    pad = " " * INDENT * (depth + 1)
    items = ",\n".join(f"{pad}{_multi_line(tokens, shape[1:], depth + 1)}" for _ in range(shape[0]))
    return f"[\n{items}\n{' ' * INDENT * depth}]"
