import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import contextlib

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.tensors import TensorError, decode, encode, encode_typed

ARRAYS: list[NDArray[np.generic]] = [
    np.array([[0.5, -1.25], [np.nan, np.inf]], np.float32),
    np.array([1 / 3, -2.0], np.float64),
    np.array([-(2**63), -1, 0, 2**63 - 1], np.int64),
    np.array([[-1], [2]], np.int32),
    np.array([-128, 127], np.int8),
    np.array([-5, 6], np.int16),
    np.array([0, 255], np.uint8),
    np.array([0, 65535], np.uint16),
    np.array([0, 2**32 - 1], np.uint32),
    np.array([0, 2**64 - 1], np.uint64),
    np.array([True, False, True]),
    np.array([1.5, -2], np.float16),
    np.array([1.5, -2], ml_dtypes.bfloat16),
    np.array([1 + 2j, 3], np.complex64),
    np.array([1 + 2j, 3], np.complex128),
    np.array(7.5, np.float32),
    np.zeros((0, 3), np.float32),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}-{array.shape}")
def test_both_forms_read_as_tensorflow_reads_them(array: NDArray[np.generic]) -> None:
    packed = encode(array)
    typed = encode_typed(array, packed.dtype)
    assert array.size == 0 or packed.tensor_content
    assert not typed.tensor_content
    for proto in (packed, typed):
        for read in (decode(proto), tf.make_ndarray(proto)):
            assert read.dtype == array.dtype
            np.testing.assert_array_equal(read, array)


def test_small_integers_take_a_byte_each() -> None:
    sizes = np.arange(20_000, dtype=np.int64).reshape(2, 10_000) % 128
    proto = encode(sizes)
    assert len(proto.SerializeToString()) < sizes.size + 50
    np.testing.assert_array_equal(tf.make_ndarray(proto), sizes)
    np.testing.assert_array_equal(decode(tensor_pb2.TensorProto.FromString(proto.SerializeToString())), sizes)
    for other in (sizes + 1, sizes - 1, sizes.astype(np.int32)):
        assert encode(other).tensor_content


def test_strings() -> None:
    for array in (np.array(["a", "bcd"]), np.array([b"a", b"bcd"]), np.array([b"a", "bcd"], dtype=object)):
        proto = encode(array)
        assert list(proto.string_val) == [b"a", b"bcd"]
        np.testing.assert_array_equal(decode(proto), np.array([b"a", b"bcd"], dtype=object))
    assert decode(encode(np.array("x"))).item() == b"x"


def test_strings_in_tensor_content() -> None:
    proto = encode(np.array(["a", "bcd"]))
    del proto.string_val[:]
    proto.tensor_content = b"\x01\x03abcd"
    np.testing.assert_array_equal(decode(proto), np.array([b"a", b"bcd"], dtype=object))
    for broken in (b"\x01", b"\x01\x04abcd", b"\x01\x03abcde", b"\xff\xff", b"\xff" * 30):
        proto.tensor_content = broken
        with pytest.raises(TensorError):
            decode(proto)


def test_few_values_are_repeated_and_many_dropped() -> None:
    proto = encode_typed(np.zeros((2, 2), np.float32), types_pb2.DT_FLOAT)
    for values, expected in (([], [0, 0, 0, 0]), ([1, 2], [1, 2, 2, 2]), ([1, 2, 3, 4, 5], [1, 2, 3, 4])):
        del proto.float_val[:]
        proto.float_val.extend(values)
        np.testing.assert_array_equal(decode(proto).reshape(-1), expected)


def test_few_values_cannot_ask_for_much_memory() -> None:
    for given in ([], [7]):
        largest = decode(_proto(types_pb2.DT_INT64, [2, 1_000_000], int64_val=given))
        assert largest.shape == (2, 1_000_000)
        assert largest[1, -1] == sum(given)
        message = rf"shape \[2, 1000001\] needs 16000016 bytes but only {len(given)} .*limited to 16000000 bytes"
        with pytest.raises(TensorError, match=message):
            decode(_proto(types_pb2.DT_INT64, [2, 1_000_001], int64_val=given))
    whole = np.ones((2, 1_000_001), np.int64)
    np.testing.assert_array_equal(decode(encode(whole)), whole)
    np.testing.assert_array_equal(decode(encode_typed(whole, types_pb2.DT_INT64)), whole)


def _proto(dtype: int, shape: list[int], **fields: object) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (_proto(types_pb2.DT_FLOAT, [-1], float_val=[1.0]), "not fully defined"),
        (_proto(types_pb2.DT_FLOAT, [2**40], float_val=[1.0]), "too large"),
        (_proto(types_pb2.DT_FLOAT, [2**62, 2**62], float_val=[1.0]), "too large"),
        (_proto(types_pb2.DT_STRING, [2**40], string_val=[b"x"]), "too large"),
        (_proto(types_pb2.DT_FLOAT, [3], tensor_content=b"1234"), "has 4 bytes, the shape needs 12"),
        (_proto(0, [1]), "INVALID cannot be sent"),
        (_proto(999, [1]), "cannot be sent"),
        (_proto(types_pb2.DT_RESOURCE, [1]), "cannot be sent"),
        (_proto(types_pb2.DT_FLOAT_REF, [1], float_val=[1.0]), "cannot be sent"),
        (_proto(types_pb2.DT_QINT8, [1], int_val=[1]), "cannot be sent"),
    ],
)
def test_what_cannot_be_a_request(proto: tensor_pb2.TensorProto, message: str) -> None:
    with pytest.raises(TensorError, match=message):
        decode(proto)


def test_random_protos_decode_or_are_refused() -> None:
    random = np.random.default_rng(0)
    for _ in range(2000):
        proto = _proto(int(random.integers(0, 30)), random.integers(-1, 4, size=int(random.integers(0, 4))).tolist())
        proto.tensor_content = random.bytes(int(random.integers(0, 12)))
        proto.int_val.extend(random.integers(-(2**31), 2**31, size=int(random.integers(0, 4))).tolist())
        with contextlib.suppress(TensorError):
            decode(proto)
