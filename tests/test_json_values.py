"""JSON values to tensors of every type, over REST where the outcome is seen there."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from tensorflow.core.framework import types_pb2

from serving.publisher import publish
from serving.server.json_values import to_array
from tests.rest_support import ask, error, served_rest
from tests.server_models import exporter


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    model_dir = tmp_path_factory.mktemp("toy")
    publish(model_dir, exporter(2.0))
    with served_rest(model_dir) as client:
        yield client


def echo(rest: httpx.Client, **changed: Any) -> httpx.Response:
    values: dict[str, Any] = {
        "f32": 1.5,
        "f64": 0.1,
        "i8": 1,
        "i32": 2,
        "i64": 3,
        "u8": 4,
        "u32": 5,
        "u64": 6,
        "flag": True,
        "text": "a",
    }
    return ask(rest, {"signature_name": "echo", "inputs": {**values, **changed}})


def test_every_type_both_ways(rest: httpx.Client) -> None:
    outputs = echo(rest).json()["outputs"]
    assert outputs == {
        "f32_out": 1.5,
        "f64_out": 0.1,
        "i8_out": 1,
        "i32_out": 2,
        "i64_out": 3,
        "u8_out": 4,
        "u32_out": 5,
        "u64_out": 6,
        "flag_out": True,
        "text_out": "a",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("i64", 1.0),
        ("i64", True),
        ("i64", "1"),
        ("i64", None),
        ("i64", 2**63),
        ("i32", 2**31),
        ("i32", 1.5),
        ("u32", -1),
        ("u64", -1),
        ("u64", 2**64),
        ("flag", 1),
        ("text", 1),
        ("f32", "1"),
        ("f32", True),
        ("f32", None),
        ("f32", {"b64": "AA=="}),
    ],
)
def test_strict_types(rest: httpx.Client, name: str, value: Any) -> None:
    assert "is not of expected type" in error(echo(rest, **{name: value}))


@pytest.mark.parametrize(
    ("name", "value"), [("i64", -(2**63)), ("i64", 2**63 - 1), ("u64", 2**64 - 1), ("u32", 2**32 - 1)]
)
def test_type_limits(rest: httpx.Client, name: str, value: int) -> None:
    assert echo(rest, **{name: value}).json()["outputs"][f"{name}_out"] == value


def test_small_ints_wrap_as_in_the_real_server(rest: httpx.Client) -> None:
    assert echo(rest, i8=300).json()["outputs"]["i8_out"] == 44


def test_floats_that_lose_digits(rest: httpx.Client) -> None:
    assert echo(rest, f32=2**24 - 1).status_code == 200
    for value in (2**24, 1e39):
        assert "without loss of precision" in error(echo(rest, f32=value))


@pytest.mark.parametrize("text", ["/wA=", "/wA", "/wA.", " /w\nA= "])
def test_base64_is_padded_or_not(rest: httpx.Client, text: str) -> None:
    response = ask(rest, {"signature_name": "words", "inputs": {"text": [{"b64": text}]}})
    assert response.status_code == 200
    assert b'"b64": "/wA="' in response.content


@pytest.mark.parametrize("text", ["_wA=", "/wA==", "/w=", "a", "/w=A", "\u00e9A=="])
def test_bad_base64(rest: httpx.Client, text: str) -> None:
    assert error(ask(rest, {"signature_name": "words", "inputs": [{"b64": text}]})) == "Unable to base64 decode"


def test_integers_beyond_64_bits_are_doubles(rest: httpx.Client) -> None:
    for value in (2**64, -(2**63) - 1):
        assert echo(rest, f64=value).json()["outputs"]["f64_out"] == float(value)
        assert "is not of expected type: int64" in error(echo(rest, i64=value))
    assert "without loss of precision" in error(echo(rest, f64=2**64 - 1))


def test_nested_lists() -> None:
    array = to_array([[[1, 2]], [[3, 4]], [[5, 6]]], types_pb2.DT_INT64)
    assert array.dtype == np.int64
    np.testing.assert_array_equal(array, [[[1, 2]], [[3, 4]], [[5, 6]]])
    assert to_array([[], []], types_pb2.DT_FLOAT).shape == (2, 0)
    assert to_array(5, types_pb2.DT_FLOAT).shape == ()
