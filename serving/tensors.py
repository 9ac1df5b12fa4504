"""TensorProto to NumPy and back, without copies through Python lists where the wire format allows it."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2

Array = NDArray[np.generic]

# A request cannot be longer than this, so a shape that asks for more is an attempt to exhaust memory.
_MAX_BYTES = 2**31 - 1
# Values in a message are paid for by its length, repeated ones by nobody: a few bytes could ask for gigabytes.
MAX_FILL_BYTES = 16_000_000
_LENGTH_DELIMITED = 2


class TensorError(ValueError):
    """A TensorProto whose content does not fit its type and shape."""


@cache
def dtype_of(data_type: int) -> np.dtype[np.generic]:
    """The NumPy dtype of a `DataType` number; `object` for strings.

    Raises:
        TensorError: Resources, variants, references and quantized types cannot be sent.
    """
    import tensorflow as tf

    if data_type not in _FIELDS and data_type != types_pb2.DT_STRING:
        raise TensorError(f"tensors of type {type_name(data_type)} cannot be sent")
    return np.dtype(tf.as_dtype(data_type).as_numpy_dtype)


def type_name(data_type: int) -> str:
    """TensorFlow's short name of a `DataType` number: 1 -> "float", 9 -> "int64"; "INVALID" for 0."""
    try:
        return types_pb2.DataType.Name(data_type)[3:].lower() if data_type else "INVALID"
    except ValueError:
        return f"unknown dtype enum ({data_type})"


def decode(proto: tensor_pb2.TensorProto) -> Array:
    """Reads a TensorProto, from `tensor_content` or from the typed value fields.

    As in TensorFlow: fewer values than elements repeat the last one, no value at all means zeros (empty strings), more
    values than elements are dropped. Unlike TensorFlow, a tensor with fewer values than elements may not exceed
    `MAX_FILL_BYTES`.

    Args:
        proto: The message.

    Returns:
        The array in the message's shape; strings as an object array of bytes.

    Raises:
        TensorError: Unknown rank, a negative dimension, a type that cannot be sent, a content of the wrong length, a
            shape too large to be a request, or too large for the few values given.
    """
    dtype = dtype_of(proto.dtype)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise TensorError(f"shape {list(shape)} is not fully defined")
    count = math.prod(shape)
    if count * dtype.itemsize > _MAX_BYTES or len(shape) > 32:
        raise TensorError(f"shape {list(shape)} is too large")
    if proto.tensor_content:
        return _from_content(proto.tensor_content, dtype, count).reshape(shape)
    values = _typed_values(proto, dtype)
    if values.size < count and count * dtype.itemsize > MAX_FILL_BYTES:
        raise TensorError(
            f"shape {list(shape)} needs {count * dtype.itemsize} bytes but only {values.size} of its {count} values "
            f"are given; repeating the last one is limited to {MAX_FILL_BYTES} bytes, send every value"
        )
    return _fill(values, dtype, count).reshape(shape)


def encode(array: Array) -> tensor_pb2.TensorProto:
    """Packs an array into the shortest form to send: `tensor_content`; strings `string_val`.

    int64 values that are all below 128, such as flags and the sizes of clusters, go as `int64_val`: one byte each
    instead of eight.

    Args:
        array: Any numeric array, or strings as object, `str` or `bytes` array.

    Returns:
        The message.

    Raises:
        TensorError: A dtype that TensorFlow does not have, or an object array of something else than strings.
    """
    import tensorflow as tf

    if array.dtype.kind in "OUS":
        return _encode_strings(array)
    if array.dtype.kind == "i" and array.dtype.itemsize == 8 and _all_below_128(array):
        proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_INT64, tensor_shape=_shape_proto(array.shape))
        proto.MergeFromString(_packed(_INT64_VAL, array.astype(np.uint8).tobytes()))
        return proto
    # The wire is little endian whatever the array is.
    native = array.astype(array.dtype.newbyteorder("<"), copy=False)
    try:
        data_type = tf.as_dtype(native.dtype).as_datatype_enum
    except TypeError:
        raise TensorError(f"arrays of dtype {array.dtype} cannot be sent") from None
    return tensor_pb2.TensorProto(
        dtype=data_type, tensor_shape=_shape_proto(array.shape), tensor_content=native.tobytes()
    )


def as_bytes(array: Array) -> list[bytes]:
    """The strings of an object, `str` or `bytes` array, flat; text as UTF-8.

    Raises:
        TensorError: An element is no string.
    """
    values: list[bytes] = []
    for value in array.reshape(-1).tolist():
        if not isinstance(value, str | bytes):
            raise TensorError(f"expected strings (str or bytes) in an object array, got {type(value).__name__}")
        values.append(value.encode() if isinstance(value, str) else value)
    return values


def encode_typed(array: Array, data_type: int) -> tensor_pb2.TensorProto:
    """Packs an array into the typed value fields (`float_val`, ...), as TF Serving's responses do.

    A packed field of fixed-width numbers is their memory on the wire, so those are written as bytes and parsed by
    protobuf in C; Python never sees the single values.

    Args:
        array: The values.
        data_type: `DataType` number of the tensor.

    Returns:
        The message.
    """
    if data_type == types_pb2.DT_STRING:
        return _encode_strings(array)
    proto = tensor_pb2.TensorProto(dtype=data_type, tensor_shape=_shape_proto(array.shape))
    flat = np.ascontiguousarray(array).reshape(-1)
    field = _FIELDS[data_type]
    number = tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name[field].number
    if data_type in _FIXED_WIDTH:
        proto.MergeFromString(_packed(number, flat.tobytes()))
    elif data_type in (types_pb2.DT_HALF, types_pb2.DT_BFLOAT16):
        getattr(proto, field).extend(flat.view(np.uint16).tolist())
    else:
        getattr(proto, field).extend(flat.tolist())
    return proto


_FIELDS: dict[int, str] = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_COMPLEX64: "scomplex_val",
    types_pb2.DT_COMPLEX128: "dcomplex_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_INT16: "int_val",
    types_pb2.DT_UINT16: "int_val",
    types_pb2.DT_INT8: "int_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
    types_pb2.DT_HALF: "half_val",
    types_pb2.DT_BFLOAT16: "half_val",
}
# A bool is one varint byte, 0 or 1, and a complex number its two parts: their memory is the wire format too.
_FIXED_WIDTH = {
    types_pb2.DT_FLOAT,
    types_pb2.DT_DOUBLE,
    types_pb2.DT_COMPLEX64,
    types_pb2.DT_COMPLEX128,
    types_pb2.DT_BOOL,
}


_INT64_VAL = tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name["int64_val"].number


def _all_below_128(array: Array) -> bool:
    # A varint of one byte is its value.
    return bool(array.size) and int(array.min()) >= 0 and int(array.max()) < 128


def _shape_proto(shape: tuple[int, ...]) -> tensor_shape_pb2.TensorShapeProto:
    return tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in shape])


def _packed(number: int, content: bytes) -> bytes:
    return _packed_head(number, len(content)) + content


def _packed_head(number: int, length: int) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(length)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _encode_strings(array: Array) -> tensor_pb2.TensorProto:
    return tensor_pb2.TensorProto(
        dtype=types_pb2.DT_STRING, tensor_shape=_shape_proto(array.shape), string_val=as_bytes(array)
    )


def _from_content(content: bytes, dtype: np.dtype[np.generic], count: int) -> Array:
    if dtype == object:
        return _strings_from_content(content, count)
    if len(content) != count * dtype.itemsize:
        raise TensorError(f"tensor_content has {len(content)} bytes, the shape needs {count * dtype.itemsize}")
    return np.frombuffer(content, dtype=dtype)


def _strings_from_content(content: bytes, count: int) -> Array:
    """Strings in `tensor_content`: the lengths of all as varints, then their bytes."""
    if count > len(content):
        raise TensorError(f"tensor_content has {len(content)} bytes, too few for {count} strings")
    lengths, position = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if position >= len(content) or shift > 63:
                raise TensorError("tensor_content ends within the lengths of its strings")
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise TensorError(f"tensor_content has {len(content)} bytes, its strings need {position + sum(lengths)}")
    out = np.empty(count, dtype=object)
    for index, length in enumerate(lengths):
        out[index] = content[position : position + length]
        position += length
    return out


def _typed_values(proto: tensor_pb2.TensorProto, dtype: np.dtype[np.generic]) -> Array:
    if dtype == object:
        values = np.empty(len(proto.string_val), dtype=object)
        values[:] = list(proto.string_val)
        return values
    raw = getattr(proto, _FIELDS[proto.dtype])
    if proto.dtype in (types_pb2.DT_HALF, types_pb2.DT_BFLOAT16):
        return np.array(raw, dtype=np.int64).astype(np.uint16).view(dtype)
    if proto.dtype in (types_pb2.DT_COMPLEX64, types_pb2.DT_COMPLEX128):
        part = np.float32 if proto.dtype == types_pb2.DT_COMPLEX64 else np.float64
        return np.array(raw[: len(raw) // 2 * 2], dtype=part).view(dtype)
    if dtype.kind in "iu" and dtype.itemsize < 4:
        return np.array(raw, dtype=np.int64).astype(dtype)
    if proto.dtype == types_pb2.DT_INT64 and (small := _one_byte_each(proto)) is not None:
        return small
    return np.array(raw, dtype=dtype)


def _one_byte_each(proto: tensor_pb2.TensorProto) -> Array | None:
    """`int64_val` where all of its values are below 128 and nothing else is given, else None.

    Its bytes on the wire are then its values: some ten times as fast as to read them one by one.
    """
    shape = tensor_pb2.TensorProto(dtype=proto.dtype, tensor_shape=proto.tensor_shape).SerializeToString()
    count = len(proto.int64_val)
    head = shape + _packed_head(_INT64_VAL, count)
    wire = proto.SerializeToString()
    if len(wire) != len(head) + count or not wire.startswith(head):
        return None
    return np.frombuffer(wire, np.uint8, count, len(head)).astype(np.int64)


def _fill(values: Array, dtype: np.dtype[np.generic], count: int) -> Array:
    if values.size >= count:
        return values[:count]
    out = np.empty(count, dtype=dtype)
    out[: values.size] = values
    if values.size:
        out[values.size :] = values[-1]
    else:
        out[:] = b"" if dtype == object else np.zeros((), dtype)
    return out
