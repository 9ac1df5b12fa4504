"""REST classify and regress bodies to serialized tf.Examples, and their results to text."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import types_pb2

from serving.server.inference import Classes
from serving.server.json_text import FLOAT_DIGITS, decimal_texts, dump, quote
from serving.server.json_values import is_base64, to_array, type_text
from serving.server.serving_error import invalid

Array = NDArray[np.generic]

_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def read_examples(document: dict[str, Any]) -> Array:
    """Makes tf.Examples from a parsed classify or regress body.

    Strings and base64 become bytes, whole numbers and booleans int64, other numbers float. A "context" is put before
    every example.

    Args:
        document: The object of `parse_body`.

    Returns:
        The serialized examples, object [B] of bytes.

    Raises:
        ServingError: INVALID_ARGUMENT, no list of examples, or a feature that is no value or list of one type.
    """
    context = b""
    if "context" in document:
        context = _example(document["context"]).SerializeToString()
    if "examples" not in document:
        # The real text names this method for both.
        raise invalid(
            f"JSON Value: {dump(document)} When method is classify, key 'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(f"JSON Value: {dump(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"JSON Value: {dump(document)} 'examples' value is an empty array")
    out = np.empty(len(examples), dtype=object)
    for index, example in enumerate(examples):
        out[index] = context + _example(example).SerializeToString()
    return out


def write_classes(classes: Classes) -> bytes:
    """Prints the answer to a classify request: a list of [label, score] for each example.

    Returns:
        The body: UTF-8, except for labels that hold other bytes.
    """
    either = classes.labels if classes.labels is not None else classes.scores
    assert either is not None
    batch, count = either.shape
    labels = np.full(batch * count, b"", dtype=object) if classes.labels is None else classes.labels.reshape(-1)
    scores = np.zeros(batch * count, np.float32) if classes.scores is None else classes.scores
    pairs = [
        f"[{quote(label.decode('utf-8', 'surrogateescape'))}, {score}]"
        for label, score in zip(labels.tolist(), decimal_texts(scores, FLOAT_DIGITS), strict=True)
    ]
    rows = [f"[{', '.join(pairs[index * count : (index + 1) * count])}]" for index in range(batch)]
    # The peculiar place of the closing bracket is the real one.
    return f'{{\n    "results": [{", ".join(rows)}\n    ]\n}}'.encode("utf-8", "surrogateescape")


def write_regressions(values: Array) -> bytes:
    """Prints the answer to a regress request: a number for each example."""
    return f'{{\n    "results": [{", ".join(decimal_texts(values, FLOAT_DIGITS))}]\n}}'.encode()


def _example(value: Any) -> example_pb2.Example:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_text(value)}")
    example = example_pb2.Example()
    for name, content in value.items():
        feature = example.features.feature[name.encode("utf-8", "replace").decode()]
        for element in content if isinstance(content, list) else [content]:
            _add(feature, name, element)
    return example


def _add(feature: feature_pb2.Feature, name: str, value: Any) -> None:
    kind = _kind(value, name)
    known = feature.WhichOneof("kind")
    if known not in (None, kind):
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[known]}")
    if kind == "bytes_list":
        feature.bytes_list.value.append(to_array(value, types_pb2.DT_STRING).item())
    elif kind == "float_list":
        feature.float_list.value.append(to_array(float(value), types_pb2.DT_FLOAT).item())
    elif value >= 2**63:
        raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
    else:
        feature.int64_list.value.append(int(value))


def _kind(value: Any, name: str) -> str:
    if isinstance(value, str) or is_base64(value):
        return "bytes_list"
    if isinstance(value, bool):
        return "int64_list"
    if isinstance(value, int):
        # Integers beyond 64 bits are read as doubles.
        return "int64_list" if -(2**63) <= value < 2**64 else "float_list"
    if isinstance(value, float):
        return "float_list"
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_text(value)}")
