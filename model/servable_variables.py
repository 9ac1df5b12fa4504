"""Rewrites the variables of a SavedModel, in bounded memory and without its graph."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import fingerprint_pb2

VARIABLES = "variables/variables"
"""Prefix of a SavedModel's checkpoint."""
_SHARD_BYTES = 256 << 20
_ALIGNMENT = 64
"""TensorFlow takes foreign memory as a tensor only when it starts at a multiple of this."""


def aligned(shape: list[int], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array that TensorFlow can share instead of copying."""
    size = int(np.prod(shape)) * dtype.itemsize
    buffer = np.empty(size + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + size].view(dtype).reshape(shape)


def write_checkpoint(reader: Any, replaced: Mapping[str, np.ndarray], servable: Path) -> None:
    """Writes the variables of a SavedModel anew, some replaced; of the kept ones, one shard at a time in memory.

    Args:
        reader: The old checkpoint, from `tf.train.load_checkpoint`.
        replaced: Checkpoint key to value; arrays made by `aligned` are not copied.
        servable: The SavedModel directory to write into; it has no `variables` yet.
    """
    prefix = servable / VARIABLES
    temporary = prefix.parent / "shards"
    temporary.mkdir(parents=True)
    kept = [key for key in sorted(reader.get_variable_to_shape_map()) if key not in replaced]
    prefixes: list[str] = []

    def save(tensors: Mapping[str, tf.Tensor]) -> None:
        prefixes.append(str(temporary / f"part-{len(prefixes)}"))
        tf.raw_ops.SaveV2(
            prefix=prefixes[-1],
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )

    save({key: _shared_tensor(value) for key, value in replaced.items()})
    shard: dict[str, tf.Tensor] = {}
    size = 0
    for key in kept:
        tensor = tf.constant(reader.get_tensor(key))
        size += int(tf.size(tensor)) * max(tensor.dtype.size or 0, 1)
        shard[key] = tensor
        if size >= _SHARD_BYTES:
            save(shard)
            shard, size = {}, 0
    if shard:
        save(shard)
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=prefixes, destination_prefix=str(prefix), delete_old_dirs=True, allow_missing_files=False
    )


def _shared_tensor(value: np.ndarray) -> tf.Tensor:
    if value.ctypes.data % _ALIGNMENT or not (value.flags.c_contiguous and value.flags.writeable):
        return tf.constant(value)
    if value.dtype != tf.bfloat16.as_numpy_dtype:
        return tf.experimental.dlpack.from_dlpack(value.__dlpack__())
    return tf.bitcast(tf.experimental.dlpack.from_dlpack(value.view(np.uint16).__dlpack__()), tf.bfloat16)


def update_fingerprint(servable: Path) -> None:
    """Writes the hash of the checkpoint's index into `fingerprint.pb`, as TensorFlow does when it saves."""
    file = servable / "fingerprint.pb"
    if not file.is_file():
        return
    fingerprint = fingerprint_pb2.FingerprintDef.FromString(file.read_bytes())
    index = tf.constant([(servable / f"{VARIABLES}.index").read_bytes()])
    digest = tf.raw_ops.Fingerprint(data=index, method="farmhash64").numpy()
    fingerprint.checkpoint_hash = int.from_bytes(digest.tobytes(), "little")
    file.write_bytes(fingerprint.SerializeToString())
