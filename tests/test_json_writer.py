"""Tensors to predict answers, character for character."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.json_tensor import Format
from serving.server.json_writer import write_outputs
from serving.server.serving_error import Code, ServingError


def write(form: Format, **outputs: Any) -> str:
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    infos = {
        name: meta_graph_pb2.TensorInfo(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
        for name, array in arrays.items()
    }
    return write_outputs(form, arrays, infos).decode()


def refused(form: Format, **outputs: Any) -> str:
    with pytest.raises(ServingError) as raised:
        write(form, **outputs)
    assert raised.value.code is Code.INVALID_ARGUMENT
    return raised.value.message


def test_columns() -> None:
    assert write(Format.COLUMNAR, y=np.float32(0.1)) == '{\n    "outputs": 0.1\n}'
    assert write(Format.COLUMNAR, y=np.zeros((1, 2), np.int8)) == (
        '{\n    "outputs": [\n        [\n            0,\n            0\n        ]\n    ]\n}'
    )
    assert write(Format.COLUMNAR, a=[True], b=np.int64(-3)) == (
        '{\n    "outputs": {\n        "a": [\n            true\n        ],\n        "b": -3\n    }\n}'
    )


def test_rows() -> None:
    assert write(Format.ROW, y=np.array([[[1.5]], [[2.0]]])) == '{\n    "predictions": [[[1.5]], [[2.0]]\n    ]\n}'
    assert write(Format.ROW, a=[1, 2], b=np.array([[b"x"], [b"y"]], object)) == (
        '{\n    "predictions": [\n        {\n            "a": 1,\n            "b": ["x"]\n        },\n'
        '        {\n            "a": 2,\n            "b": ["y"]\n        }\n    ]\n}'
    )


def test_bytes() -> None:
    value = np.array([b"\xff\x00"], object)
    inner = '{\n            "b64": "/wA="\n        }'
    assert write(Format.COLUMNAR, y_bytes=value) == f'{{\n    "outputs": [\n        {inner}\n    ]\n}}'


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "complex64", "uint16"])
def test_types_without_json_form(dtype: str) -> None:
    as_numpy = tf.as_dtype(dtype).as_numpy_dtype
    message = f"Failed to write JSON value for tensor type: {dtype}"
    assert refused(Format.COLUMNAR, y=np.zeros(1, as_numpy)) == message
    assert refused(Format.ROW, y=np.zeros(1, as_numpy)) == message
    # Where there is no value, none fails.
    assert write(Format.COLUMNAR, y=np.zeros(0, as_numpy)) == '{\n    "outputs": []\n}'


def test_batches() -> None:
    assert refused(Format.ROW, y=1.0) == "Tensor name: y has no shape information "
    assert refused(Format.ROW, y=np.zeros(0)) == "Tensor name: y has invalid batch size: 0"
    assert refused(Format.ROW, a=[1, 2], b=[1]) == "Tensor name: b has inconsistent batch size: 1 expecting: 2"


def test_no_outputs() -> None:
    assert refused(Format.ROW) == "Cannot convert empty tensor map to JSON"
