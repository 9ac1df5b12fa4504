"""Keeps what a search reads of items (`item_table/search`) in step with a replaced item table."""

import re
from typing import Any

import numpy as np

from model.search_features import values_of

_KEY = re.compile(r"(?:.*/)?item_table/search/[^/]+/\.ATTRIBUTES/VARIABLE_VALUE")


def moved_search_values(reader: Any, ids_key: str, new_ids: np.ndarray) -> dict[str, np.ndarray]:
    """The `search` variables of a checkpoint, their rows moved to where their items now are.

    Items that the old table does not hold, and the unknown item, get zero: no embedding, no cluster.

    Args:
        reader: The old checkpoint, from `tf.train.load_checkpoint`.
        ids_key: Where it holds the ids int64 [R] of its rows.
        new_ids: int64 [R'], ids of the new rows; row 0 is the unknown item in both.

    Returns:
        {checkpoint key: [R', ...]}; empty for a servable whose search reads nothing.
    """
    keys = [key for key in reader.get_variable_to_shape_map() if _KEY.fullmatch(key)]
    if not keys:
        return {}
    old_ids = np.asarray(reader.get_tensor(ids_key))
    return {key: values_of(new_ids, old_ids, np.asarray(reader.get_tensor(key))) for key in keys}
