"""Any body ends as tensors, as examples or as an error of the client's, never as a failure of the server."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import json
import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.json_examples import read_examples
from serving.server.json_parser import _SlowParser, parse_json
from serving.server.json_tensor import parse_body, read_inputs
from serving.server.json_text import dump
from serving.server.serving_error import Code, ServingError
from serving.tensors import dtype_of

TYPES = {
    "f": types_pb2.DT_FLOAT,
    "d": types_pb2.DT_DOUBLE,
    "i": types_pb2.DT_INT32,
    "l": types_pb2.DT_INT64,
    "u": types_pb2.DT_UINT64,
    "b": types_pb2.DT_BOOL,
    "s": types_pb2.DT_STRING,
    "h": types_pb2.DT_HALF,
}
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**31, -(2**31), 2**63 - 1, 2**63, 2**64 - 1, -(2**63) - 1, 10**299]),
    st.floats(),
)
LEAVES = st.one_of(NUMBERS, st.none(), st.booleans(), st.text(max_size=3))
BASE64 = st.builds(lambda text: {"b64": text}, st.one_of(st.text("Aa+/=_ .", max_size=6), LEAVES))
NAMES = st.sampled_from([*TYPES, "b64", "z", ""])
VALUES = st.recursive(
    st.one_of(LEAVES, BASE64),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.integers(1, 3).flatmap(lambda n: st.lists(inner, min_size=n, max_size=n))
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=3)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.one_of(st.text(max_size=3), LEAVES),
        "instances": st.one_of(st.lists(st.one_of(VALUES, OBJECTS), max_size=3), VALUES),
        "inputs": st.one_of(OBJECTS, VALUES),
        "examples": st.one_of(st.lists(st.one_of(OBJECTS, VALUES), max_size=3), VALUES),
        "context": st.one_of(OBJECTS, VALUES),
    },
)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isnan(one) == math.isnan(other) and (math.isnan(one) or one == float(other))
    return bool(one == other) or (isinstance(one, int) and isinstance(other, float) and float(one) == other)


@settings(max_examples=400, deadline=None)
@given(document=DOCUMENTS, names=st.sets(st.sampled_from(list(TYPES)), min_size=1, max_size=2))
def test_documents(document: dict[str, Any], names: set[str]) -> None:
    inputs = {name: meta_graph_pb2.TensorInfo(dtype=TYPES[name]) for name in names}
    body = json.dumps(document).encode()
    dump(document)
    try:
        _, parsed = parse_body(body)
    except ServingError as error:
        assert error.code is Code.INVALID_ARGUMENT
        return
    try:
        for name, array in read_inputs(parsed, inputs)[1].items():
            assert array.dtype == dtype_of(TYPES[name])
    except ServingError as error:
        assert error.code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED), error
    try:
        assert len(read_examples(parsed)) == len(parsed["examples"])
    except ServingError as error:
        assert error.code is Code.INVALID_ARGUMENT, error


@settings(max_examples=400, deadline=None)
@given(document=st.one_of(DOCUMENTS, VALUES), indent=st.sampled_from([None, 1]))
def test_both_parsers_read_the_same(document: Any, indent: int | None) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    slow = _SlowParser(text, 0)
    try:
        expected = slow.parse()
    except ServingError as error:
        assert str(error) == str(_failure(text.encode("utf-8", "surrogatepass")))
        return
    assert same(expected, parse_json(text.encode("utf-8", "surrogatepass")))


def _failure(body: bytes) -> ServingError | None:
    try:
        parse_json(body)
    except ServingError as error:
        return error
    return None


@settings(max_examples=400, deadline=None)
@given(
    body=st.one_of(
        st.binary(max_size=40), st.text('{}[]",:\\u0123eE+-.naINtrf \x00\u00e9', max_size=40).map(str.encode)
    )
)
def test_bytes(body: bytes) -> None:
    failure = _failure(body)
    assert failure is None or failure.code is Code.INVALID_ARGUMENT


@settings(max_examples=200, deadline=None)
@given(values=st.lists(st.floats(width=32), min_size=1, max_size=4))
def test_what_is_printed_reads_back(values: list[float]) -> None:
    np.testing.assert_array_equal(parse_json(dump(values).encode()), values)
