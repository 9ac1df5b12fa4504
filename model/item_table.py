"""The item table: id -> row -> inherent feature indices and projection (section 3.4.2)."""

import types
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from model.config import TableDtype
from model.id_index import EMPTY, IdIndex

ITEM_ID = "item_id"
"""Name of the item id among the inherent features."""
UNKNOWN_ID = EMPTY
"""Id of row 0, the unknown item: smaller than every other id."""
_REFRESH_ROWS = 65_536


class ItemTable(tf.Module):
    """Everything the model knows of items, in variables that training and serving read alike.

    Rows are sorted by id; row 0 is the unknown item: no features, projection zero. Dimension 0 of every variable is
    unspecified in the graph: a servable takes a table of any size by a rewrite of its checkpoint alone.

    Args:
        widths: Inherent feature to None, or the number of values kept of a multi-hot feature.
        heads: h.
        head_dim: d_k.
        dtype: Type of the stored projections; `int8` has one scale per head.
        search: What a search other than TWIN's reads: name to the unknown item's value, [1, ...].

    Attributes:
        search: {name: [R, ...]}; without `search` not even an entry of the checkpoint.
    """

    search: Mapping[str, tf.Variable] = types.MappingProxyType({})

    def __init__(
        self,
        widths: Mapping[str, int | None],
        heads: int,
        head_dim: int,
        dtype: TableDtype,
        search: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        super().__init__(name="item_table")
        self.heads, self.head_dim = heads, head_dim
        self.ids = _variable(np.array([UNKNOWN_ID], np.int64), "ids")
        self.id_index = IdIndex()
        self.index = {
            feature: _variable(np.zeros([1] if width is None else [1, width], np.int32), f"index_{feature}")
            for feature, width in widths.items()
        }
        self.projection = _variable(tf.zeros([1, heads * head_dim], dtype), "projection")
        self.scale = tf.Variable(tf.ones([heads]), trainable=False, name="scale")
        if search:
            self.search = {name: _variable(row, f"search_{name}") for name, row in search.items()}

    def assign(self, ids: np.ndarray, index: Mapping[str, np.ndarray]) -> None:
        """Replaces all rows; projections are zero until `refresh`, `search` is until `assign_search`.

        Args:
            ids: int64 [R - 1], ascending, unique.
            index: {feature: int32 [R - 1] or [R - 1, W]}.

        Raises:
            ValueError: If ids are not strictly ascending, or lengths differ.
        """
        if not np.all(ids[1:] > ids[:-1]):
            raise ValueError("item ids must be unique and ascending")
        for feature, variable in self.index.items():
            values = index[feature]
            if len(values) != len(ids):
                raise ValueError(f"feature {feature!r} has {len(values)} rows, expected {len(ids)}")
            unknown = np.zeros([1, *values.shape[1:]], np.int32)
            variable.assign(np.concatenate([unknown, values]))
        self.ids.assign(np.concatenate([[UNKNOWN_ID], ids]))
        self.id_index.assign(ids)
        self.projection.assign(tf.zeros([len(ids) + 1, self.heads * self.head_dim], self.projection.dtype))
        for variable in self.search.values():
            variable.assign(np.zeros([len(ids) + 1, *variable.shape[1:]], variable.dtype.as_numpy_dtype))

    def assign_search(self, name: str, values: np.ndarray) -> None:
        """Replaces one of the `search` variables; row 0, the unknown item, has zero.

        Args:
            name: Its name.
            values: [R - 1, ...] in the order of the ids given to `assign`.

        Raises:
            ValueError: If there is no such variable, or the shape or type is another.
        """
        variable = self.search.get(name)
        if variable is None:
            raise ValueError(f"the item table has no search feature {name!r}; it has {sorted(self.search)}")
        expected = f"{variable.dtype.name} {[len(self.ids.numpy()) - 1, *variable.shape[1:]]}"
        got = f"{values.dtype} {list(values.shape)}"
        if got != expected:
            raise ValueError(f"search feature {name!r}: expected {expected}, got {got}")
        variable.assign(np.concatenate([np.zeros([1, *values.shape[1:]], values.dtype), values]))

    def lookup(self, item_id: tf.Tensor) -> tf.Tensor:
        """Rows int32 of item ids int64, any shape; 0 for ids that have none."""
        return tf.reshape(self.id_index.lookup(tf.reshape(item_id, [-1])), tf.shape(item_id))

    def features(self, row: tf.Tensor) -> dict[str, tf.Tensor]:
        """Feature indices of rows int32 [...]: {feature: int32 [...] or [..., W]}."""
        return {feature: tf.gather(index, row) for feature, index in self.index.items()}

    def projections(self, row: tf.Tensor) -> tf.Tensor:
        """K_h W^h of rows int32 [...]: float32 [..., h * d_k]."""
        stored = tf.cast(tf.gather(self.projection, row), tf.float32)
        if self.projection.dtype != tf.int8:
            return stored
        return stored * tf.repeat(self.scale, self.head_dim)

    def refresh(self, project: Callable[[tf.Tensor], tf.Tensor]) -> None:
        """Recomputes every projection from current weights.

        Args:
            project: Rows int32 [M] to projections float32 [M, h * d_k].
        """
        rows = int(tf.shape(self.ids)[0])
        chunks = [project(tf.range(start, min(start + _REFRESH_ROWS, rows))) for start in range(0, rows, _REFRESH_ROWS)]
        self._store(tf.concat(chunks, axis=0))

    def _store(self, projection: tf.Tensor) -> None:
        if self.projection.dtype == tf.int8:
            per_head = tf.reshape(projection, [-1, self.heads, self.head_dim])
            scale = tf.maximum(tf.reduce_max(tf.abs(per_head), axis=[0, 2]) / 127.0, 1e-12)
            self.scale.assign(scale)
            projection = tf.round(projection / tf.repeat(scale, self.head_dim))
        self.projection.assign(tf.cast(projection, self.projection.dtype))


def _variable(value: np.ndarray | tf.Tensor, name: str) -> tf.Variable:
    return tf.Variable(value, shape=[None, *value.shape[1:]], trainable=False, name=name)
