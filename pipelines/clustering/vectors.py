"""The items' projections K_h W^h, in files that every worker maps into memory instead of loading them."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model.errors import UserError
from pipelines.aside import folder_aside
from pipelines.clustering.entries import Ints

if TYPE_CHECKING:
    from model.servable_table import TableRows

Floats = npt.NDArray[np.float32]


class VectorsError(UserError):
    """There are no item vectors at a path, or they do not fit the data."""


@dataclasses.dataclass(frozen=True)
class ItemVectors:
    """What clustering knows of V items.

    Attributes:
        ids: int64 [V], ascending.
        values: float32 or int8 [V, h * d_k].
        scale: float32 [h * d_k]; an int8 value times this is the projection; 1 for float32.
        duration: float32 [V], the schema's `duration` feature (NaN = unknown), or None where it has none.
    """

    ids: Ints
    values: npt.NDArray[np.generic]
    scale: Floats
    duration: Floats | None = None

    def rows(self, items: Ints) -> Ints:
        """Rows int64 [n] of item keys int64 [n]; -1 for those without a vector."""
        if not len(self.ids):
            return np.full(len(items), -1, np.int64)
        at = np.minimum(np.searchsorted(self.ids, items), len(self.ids) - 1)
        return np.where(self.ids[at] == items, at, -1)

    def at(self, rows: Ints) -> Floats:
        """Vectors float32 [n, h * d_k] of rows int64 [n], all of them >= 0."""
        values = np.asarray(self.values[rows])
        return np.asarray(values if values.dtype == np.float32 else values * self.scale, np.float32)


def save_vectors(vectors: ItemVectors, folder: Path | str) -> None:
    """Writes `ids.npy`, `values.npy`, `scale.npy` and, where there are durations, `duration.npy`; whole or not at all.

    Args:
        vectors: What to write.
        folder: A folder that does not exist yet, on a file system that all workers share.
    """
    target = Path(folder)
    with folder_aside(target) as temporary:
        for field in dataclasses.fields(vectors):
            value = getattr(vectors, field.name)
            if value is not None:
                np.save(temporary / f"{field.name}.npy", value)
        temporary.rename(target)


def load_vectors(folder: Path | str) -> ItemVectors:
    """Maps what `save_vectors` wrote; processes of one machine share the memory.

    Raises:
        VectorsError: The folder holds no vectors.
    """

    def mapped(name: str) -> Any:
        file = Path(folder) / f"{name}.npy"
        return np.load(file, mmap_mode="r", allow_pickle=False) if file.is_file() else None

    ids, values, scale, duration = (mapped(name) for name in ("ids", "values", "scale", "duration"))
    if ids is None or values is None or scale is None:
        raise VectorsError(f"{folder}: no item vectors (expected ids.npy, values.npy and scale.npy)")
    return ItemVectors(ids, values, scale, duration)


def servable_vectors(servable: Path) -> ItemVectors:
    """The projections of a servable's item table, without durations; int8 ones stay int8.

    Raises:
        ServableTableError: If the directory is no SavedModel or holds no item table.
    """
    from model.servable_table import read_table

    return table_vectors(read_table(servable))


def table_vectors(table: "TableRows") -> ItemVectors:
    """The projections of an item table, without durations; int8 ones stay int8."""
    values = table.projection[1:]
    width = values.shape[1]
    if values.dtype != np.int8:
        # NumPy's file format does not know bfloat16.
        values = values.astype(np.float32, copy=False)
    return ItemVectors(table.ids[1:], values, np.repeat(table.scale, width // len(table.scale)))


def with_durations(vectors: ItemVectors, items: Ints, durations: Floats) -> ItemVectors:
    """The vectors with the durations float32 [m] of `items` int64 [m]; NaN for items that are not among them."""
    duration = np.full(len(vectors.ids), np.nan, np.float32)
    rows = vectors.rows(items)
    duration[rows[rows >= 0]] = durations[rows >= 0]
    return dataclasses.replace(vectors, duration=duration)
