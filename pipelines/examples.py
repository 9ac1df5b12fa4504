"""Columns -> serialized tf.Examples, without TensorFlow: tfx-bsl encodes Arrow columns natively."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

Values = Any
"""int64 [n], float32 [n], or a binary Arrow array of n values (Arrow is untyped)."""

_ENCODER = RecordBatchToExamplesEncoder()


def encode_example(columns: Mapping[str, Values]) -> bytes:
    """Serializes one tf.Example.

    Args:
        columns: Feature name -> its values: int64 [n], float32 [n] or a binary Arrow array of n values.
            Of length 0 is a feature without values.
    """
    lists = {name: one_list(values) for name, values in columns.items()}
    return encode_examples(lists)[0]


def encode_examples(columns: Mapping[str, pa.Array]) -> list[bytes]:
    """Serializes one tf.Example per row.

    Args:
        columns: Feature name -> list array of int64, float32 or binary; a null list is an absent feature.
    """
    batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    encoded: list[bytes] = _ENCODER.encode(batch)
    return encoded


def one_list(values: Values) -> pa.Array:
    """The values as a list array of length 1."""
    flat = values if isinstance(values, pa.Array) else pa.array(values)
    return pa.LargeListArray.from_arrays(pa.array([0, len(flat)], pa.int64()), flat)


def scalar_lists(values: Values, present: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """The n scalars as n lists of length 1; null where not `present` bool [n]."""
    flat = values if isinstance(values, pa.Array) else pa.array(values)
    if present is None:
        return pa.LargeListArray.from_arrays(pa.array(np.arange(len(flat) + 1)), flat)
    # A null offset makes its list null; the values of absent ones are dropped, so offsets count present ones.
    counts = np.concatenate([[0], np.cumsum(present)])
    offsets = pa.array(counts, mask=np.append(~present, False))
    return pa.LargeListArray.from_arrays(offsets, flat.filter(pa.array(present)))
