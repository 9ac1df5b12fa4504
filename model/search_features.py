"""What a long-term interest module wants to know of every item beside its features, made outside the model."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from model.config import TwinConfig
from model.errors import UserError


class SearchFeatureError(UserError):
    """The arrays that a search needs were not given, or do not fit."""


@dataclasses.dataclass(frozen=True)
class SearchArray:
    """A value for each of some items.

    Attributes:
        ids: int64 [V], unique, in any order.
        values: [V, ...], of the type that `empty_search_features` names.
    """

    ids: np.ndarray
    values: np.ndarray


def empty_search_features(config: TwinConfig) -> dict[str, np.ndarray]:
    """Names, types and widths: {name: value of the unknown item, [1, ...]}; empty for most modules.

    `embedding` float32 [1, search_width] for `sim_soft`; `cluster` int32 [1] for `sim_cluster` and `sim_cluster_plus`.
    """
    if config.interest == "sim_soft":
        return {"embedding": np.zeros([1, config.search_width], np.float32)}
    if config.interest in ("sim_cluster", "sim_cluster_plus"):
        return {"cluster": np.zeros([1], np.int32)}
    return {}


def values_of(wanted: np.ndarray, ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values [M, ...] of items `wanted` int64 [M], from `values` [V, ...] of unique `ids` int64 [V]; 0 for others."""
    found = np.zeros([len(wanted), *values.shape[1:]], values.dtype)
    if len(ids):
        order = np.argsort(ids)
        at = order[np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)]
        known = ids[at] == wanted
        found[known] = values[at[known]]
    return found


def check_given(expected: Mapping[str, tf.Variable], given: Mapping[str, object], interest: str) -> None:
    """Raises `SearchFeatureError` unless the arrays that `interest` searches by were given, and no others."""
    if set(expected) != set(given):
        raise SearchFeatureError(
            f"interest {interest!r} searches by {sorted(expected) or 'no arrays'} of every item, got {sorted(given)}; "
            "pre-trained embeddings and clusters are made before the training and handed to it"
        )
