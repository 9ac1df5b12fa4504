"""A history in columns, each entry standing for one or more behaviours."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.preprocess.event_columns import Column, take

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Entries:
    """n entries of one user's history.

    Attributes:
        item: int64 [n], item keys.
        time: int64 [n], ms; of a cluster its mean.
        size: int64 [n], behaviours it stands for, at least 1.
        group: int64 [n], see `pipelines.clustering.groups`.
        cross: The cross features by name: int64 or float32 [n], or a binary Arrow array.
    """

    item: Ints
    time: Ints
    size: Ints
    group: Ints
    cross: dict[str, Column]

    def __len__(self) -> int:
        return len(self.item)

    def take(self, index: npt.NDArray[np.generic]) -> "Entries":
        """The entries at `index` (int64, or bool [n]), in its order."""
        cross = {name: take(column, index) for name, column in self.cross.items()}
        return Entries(self.item[index], self.time[index], self.size[index], self.group[index], cross)

    def slice(self, first: int, last: int) -> "Entries":
        """The entries from `first` to before `last`."""
        return self.take(np.arange(first, max(first, last)))


def concatenate(parts: Sequence[Entries]) -> Entries:
    """All entries of the parts, one part after the other; the parts have the same cross features."""

    def joined(columns: Sequence[Column]) -> Column:
        if isinstance(columns[0], pa.Array):
            return pa.concat_arrays([column.cast(pa.large_binary()) for column in columns])
        return np.concatenate(columns)

    cross = {name: joined([part.cross[name] for part in parts]) for name in parts[0].cross}
    item, time, size, group = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("item", "time", "size", "group")
    )
    return Entries(item, time, size, group, cross)
