"""Raw columns -> typed columns, vectorised, with the rows at fault marked.

A missing value is -1, "" or NaN afterwards (int64, string, float32); a row with a wrong one is marked.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from model.feature import Feature
from model.schema import item_key

MAX_ID_BYTES = 512
MISSING_INT = -1
_MAX_ABS_TIME = 1 << 53
"""Milliseconds; 285,000 years. Leaves room to subtract delays without overflow."""

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Parsed:
    """A typed column of n values.

    Attributes:
        values: int64 [n], float32 [n], or a binary Arrow array of n values without nulls.
        missing: bool [n], null or empty.
        bad: bool [n], there but not of the declared type.
    """

    values: Ints | Floats | pa.Array
    missing: Bools
    bad: Bools


@dataclasses.dataclass(frozen=True)
class Ids:
    """A column of n ids.

    Attributes:
        codes: int64 [n], equal for equal ids; rows that are `null` or `garbage` hold anything.
        names: The id of each code as bytes, decimal or text form.
        null: bool [n].
        garbage: bool [n].
    """

    codes: Ints
    names: list[bytes]
    null: Bools
    garbage: Bools


def parse(raw: pa.Array, feature: Feature) -> Parsed:
    """Parses a scalar column as its declared type."""
    if feature.dtype == "string":
        values = as_binary(raw)
        return Parsed(values, _bools(pc.equal(pc.binary_length(values), 0)), np.zeros(len(raw), bool))
    if feature.dtype == "float32":
        return _parse_floats(raw)
    return _parse_ints(raw)


def parse_time(raw: pa.Array) -> tuple[Ints, Bools]:
    """Milliseconds since 1970, int64 [n], and which rows have none."""
    if pa.types.is_timestamp(raw.type):
        raw = raw.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    parsed = _parse_ints(raw)
    values = np.asarray(parsed.values)
    return values, parsed.missing | parsed.bad | (values >= _MAX_ABS_TIME) | (values <= -_MAX_ABS_TIME)


def parse_flag(raw: pa.Array, feature: Feature) -> tuple[Bools, Bools]:
    """A 0/1 column, or one of a string domain whose last value is positive: bool [n], and which rows are neither."""
    parsed = parse(raw, feature)
    if feature.dtype == "string":
        domain = pa.array([value.encode() for value in feature.values or ("0", "1")], pa.binary())
        index = pc.index_in(parsed.values, value_set=domain).fill_null(-1).to_numpy(zero_copy_only=False)
        return index == len(domain) - 1, index < 0
    positive = np.asarray(parsed.values == 1)
    return positive, parsed.missing | parsed.bad | ~(positive | np.asarray(parsed.values == 0))


def parse_item_ids(raw: pa.Array, feature: Feature) -> tuple[Ints, Bools, Bools]:
    """Item keys int64 [n], which ids are null, and which are garbage."""
    if feature.dtype == "int64":
        parsed = _parse_ints(raw)
        keys = np.asarray(parsed.values)
        return keys, parsed.missing, parsed.bad | (~parsed.missing & (keys < 0))
    ids = _text_ids(raw)
    of_code = np.array([item_key(name.decode("utf-8", "replace")) for name in ids.names], np.int64)
    return (of_code[ids.codes] if len(of_code) else ids.codes), ids.null, ids.garbage


def parse_user_ids(raw: pa.Array, feature: Feature) -> Ids:
    """User ids as codes and names."""
    if feature.dtype == "string":
        return _text_ids(raw)
    parsed = _parse_ints(raw)
    unique, codes = np.unique(parsed.values, return_inverse=True)
    names = [str(value).encode() for value in unique.tolist()]
    return Ids(codes.astype(np.int64), names, parsed.missing, parsed.bad | (~parsed.missing & (parsed.values < 0)))


def parse_multi_hot(raw: pa.Array, feature: Feature) -> tuple[pa.Array, Bools]:
    """A multi-hot column as a large list array of int64 or binary without nulls, and which rows are bad.

    Empty members of a `|`-joined string and null members of a list are left out.
    """
    if pa.types.is_null(raw.type):
        raw = raw.cast(pa.binary())
    if not (pa.types.is_list(raw.type) or pa.types.is_large_list(raw.type)):
        raw = pc.split_pattern(_as_text(as_binary(raw)), pattern="|")
    parent = pc.list_parent_indices(raw).to_numpy(zero_copy_only=False)
    members = pc.list_flatten(raw)
    # Text is parsed from bytes, as a CSV's cells are.
    parsed = parse(as_binary(members) if pa.types.is_string(members.type) else members, feature)
    bad = np.zeros(len(raw), bool)
    bad[parent[parsed.bad]] = True
    keep = ~(parsed.missing | parsed.bad)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(parent[keep], minlength=len(raw)))])
    values = parsed.values if isinstance(parsed.values, pa.Array) else pa.array(parsed.values)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values.filter(pa.array(keep))), bad


def as_binary(raw: pa.Array) -> pa.Array:
    """A text column as binary; null becomes empty."""
    if pa.types.is_dictionary(raw.type):
        raw = raw.cast(raw.type.value_type)
    return pc.fill_null(raw.cast(pa.binary()), b"")


def _text_ids(raw: pa.Array) -> Ids:
    encoded = as_binary(raw).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    null = np.array([not name.strip() for name in names], bool)
    garbage = np.array([_is_garbage(name) for name in names], bool) & ~null
    if not names:
        return Ids(codes, [], np.zeros(0, bool), np.zeros(0, bool))
    return Ids(codes, names, null[codes], garbage[codes])


def _is_garbage(name: bytes) -> bool:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return True
    return len(name) > MAX_ID_BYTES or not text.isprintable()


def _parse_ints(raw: pa.Array) -> Parsed:
    if pa.types.is_null(raw.type):
        return Parsed(np.full(len(raw), MISSING_INT), np.ones(len(raw), bool), np.zeros(len(raw), bool))
    if not pa.types.is_binary(raw.type):
        missing = _bools(raw.is_null())
        # uint64 above 2^63 wraps to a negative number: an id then is garbage, which it is.
        values = pc.fill_null(raw.cast(pa.int64(), safe=False), MISSING_INT).to_numpy(zero_copy_only=False)
        return Parsed(values, missing, np.zeros(len(raw), bool))
    text, missing = _trimmed(raw)
    whole = _bools(pc.match_substring_regex(text, r"^-?[0-9]{1,18}$"))
    values = _cast(text, whole, pa.int64(), MISSING_INT)
    # 19 digits may or may not fit 64 bits; Arrow's cast would refuse the whole column.
    for i in np.flatnonzero(_bools(pc.match_substring_regex(text, r"^-?[0-9]{19}$"))).tolist():
        number = int(text[i].as_py())
        if -(1 << 63) <= number < 1 << 63:
            values[i], whole[i] = number, True
    return Parsed(values, missing, ~(whole | missing))


def _parse_floats(raw: pa.Array) -> Parsed:
    if pa.types.is_null(raw.type):
        return Parsed(np.full(len(raw), np.nan, np.float32), np.ones(len(raw), bool), np.zeros(len(raw), bool))
    if pa.types.is_binary(raw.type):
        text, missing = _trimmed(raw)
        missing |= _bools(pc.match_substring_regex(text, r"^(?i:nan)$"))
        number = _bools(pc.match_substring_regex(text, r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?$"))
        unsigned = pc.replace_substring_regex(text, pattern=r"^\+", replacement="")
        wide = _cast(unsigned, number, pa.float64(), np.nan)
        bad = ~(number | missing)
    else:
        if pa.types.is_boolean(raw.type):
            raw = raw.cast(pa.int8())
        wide = pc.fill_null(raw.cast(pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False)
        missing, bad = np.isnan(wide), np.zeros(len(raw), bool)
    with np.errstate(over="ignore"):
        values = wide.astype(np.float32)
    return Parsed(values, missing, bad | np.isinf(values))


def _cast(text: pa.Array, usable: Bools, dtype: pa.DataType, missing: float) -> npt.NDArray[np.generic]:
    masked = pc.if_else(pa.array(usable), text, pa.scalar(None, pa.string()))
    return np.array(pc.fill_null(masked.cast(dtype), missing).to_numpy(zero_copy_only=False))


def _trimmed(raw: pa.Array) -> tuple[pa.Array, Bools]:
    text = pc.ascii_trim_whitespace(_as_text(as_binary(raw)))
    return text, _bools(pc.equal(pc.binary_length(text), 0))


def _as_text(raw: pa.Array) -> pa.Array:
    return pc.cast(raw, options=pc.CastOptions(target_type=pa.string(), allow_invalid_utf8=True))


def _bools(array: pa.Array) -> Bools:
    return np.array(array.to_numpy(zero_copy_only=False), dtype=bool)
