"""Reads and replaces the item table of a SavedModel by its files alone, without any class of the model.

The graph leaves dimension 0 of the table's variables unspecified, so a checkpoint with another number of rows loads
into the same `saved_model.pb` (section 3.4.2: the table is refreshed far more often than the model is trained).
"""

import dataclasses
import datetime
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from model import id_index
from model.errors import UserError
from model.item_table import UNKNOWN_ID
from model.servable_search import moved_search_values
from model.servable_variables import VARIABLES, aligned, update_fingerprint, write_checkpoint

TWIN_JSON = "assets.extra/twin.json"
KNOWN_IDS = "assets.extra/known_ids.npy"
"""Item ids in the order of their embedding rows 1, 2, ..., as the export writes them."""
_KEY = re.compile(
    r"(?:.*/)?item_table/(ids|id_index/keys|id_index/rows|projection|scale|index/(.+))/\.ATTRIBUTES/VARIABLE_VALUE"
)
_SMALLEST_SCALE = 1e-12


class ServableTableError(UserError):
    """A servable has no item table, or the new rows do not fit the servable."""


@dataclasses.dataclass(frozen=True)
class TableSpec:
    """What a servable's item table holds, apart from its rows.

    Attributes:
        rows: R, with row 0 (the unknown item).
        dtype: Type of the stored projections: float32, bfloat16 or int8.
        projection_dim: h * d_k.
        heads: h.
        index: Inherent feature to None (one value) or its multi-hot width W.
    """

    rows: int
    dtype: np.dtype
    projection_dim: int
    heads: int
    index: dict[str, int | None]


@dataclasses.dataclass(frozen=True)
class TableRows:
    """The item table as the checkpoint stores it; row 0 is the unknown item, ids ascend.

    Attributes:
        ids: int64 [R].
        projection: float32, bfloat16 or int8 [R, h * d_k].
        scale: float32 [h]; 1 unless the projections are int8.
        index: {feature: int32 [R] or [R, W]}.
    """

    ids: np.ndarray
    projection: np.ndarray
    scale: np.ndarray
    index: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class TableChunk:
    """Some items in any order, as the projection job makes them.

    Attributes:
        projection: float32 [M, h * d_k].
        index: {feature: int32 [M] or [M, W]}.
    """

    projection: np.ndarray
    index: Mapping[str, np.ndarray]


def read_spec(servable: Path) -> TableSpec:
    """Reads the shapes and types of a servable's item table from its checkpoint's index; no tensor is read.

    Raises:
        ServableTableError: If the directory is no SavedModel or holds no item table.
    """
    reader = _reader(servable)
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    keys = _table_keys(servable, reader)
    rows, projection_dim = shapes[keys["projection"]]
    index = {name[6:]: shapes[key] for name, key in keys.items() if name.startswith("index/")}
    return TableSpec(
        rows=rows,
        dtype=np.dtype(dtypes[keys["projection"]].as_numpy_dtype),
        projection_dim=projection_dim,
        heads=shapes[keys["scale"]][0],
        index={feature: shape[1] if len(shape) == 2 else None for feature, shape in index.items()},
    )


def read_ids(servable: Path) -> np.ndarray:
    """Ids int64 [R] of a servable's item table, row 0 included."""
    reader = _reader(servable)
    return np.asarray(reader.get_tensor(_table_keys(servable, reader)["ids"]))


def read_table(servable: Path) -> TableRows:
    """Reads a servable's whole item table.

    Raises:
        ServableTableError: If the directory is no SavedModel or holds no item table.
    """
    reader = _reader(servable)
    values = {name: np.asarray(reader.get_tensor(key)) for name, key in _table_keys(servable, reader).items()}
    index = {name[6:]: value for name, value in values.items() if name.startswith("index/")}
    return TableRows(values["ids"], values["projection"], values["scale"], index)


def assemble_rows(spec: TableSpec, ids: np.ndarray, max_abs: np.ndarray, chunks: Iterable[TableChunk]) -> TableRows:
    """Sorts items by id into a table, quantised as the servable stores it; memory is the table and one chunk.

    An int8 value is `round(projection / scale)` with `scale = max |projection| / 127` per head.

    Args:
        spec: The servable's table.
        ids: int64 [M] of all items, unique, in the order in which `chunks` brings them.
        max_abs: float32 [h * d_k], the largest absolute projection of every column; read for int8 alone.
        chunks: The items' projections and feature indices.

    Raises:
        ServableTableError: On duplicate ids, or fewer or more rows in `chunks` than ids.
    """
    order = np.argsort(ids, kind="stable")
    sorted_ids = ids[order]
    if np.any(sorted_ids[1:] == sorted_ids[:-1]) or (len(ids) and sorted_ids[0] == UNKNOWN_ID):
        raise ServableTableError("item ids must be unique and above the smallest int64, which marks the unknown item")
    row = np.empty(len(ids), np.int64)
    row[order] = np.arange(1, len(ids) + 1)
    del order
    scale = np.ones(spec.heads, np.float32)
    if spec.dtype == np.int8:
        per_head = max_abs.reshape(spec.heads, -1).max(axis=1) / np.float32(127.0)
        scale = np.maximum(per_head, np.float32(_SMALLEST_SCALE)).astype(np.float32)
    table = _empty_table(spec, np.concatenate([[UNKNOWN_ID], sorted_ids]), scale)
    done = 0
    for chunk in chunks:
        at = row[done : done + len(chunk.projection)]
        if len(at) < len(chunk.projection):
            raise ServableTableError(f"more projections than item ids: expected {len(ids)} rows")
        table.projection[at] = _quantise(chunk.projection, spec, scale)
        for feature, values in table.index.items():
            values[at] = chunk.index[feature]
        done += len(at)
    if done < len(ids):
        raise ServableTableError(f"fewer projections than item ids: expected {len(ids)} rows, got {done}")
    return table


def replace_table(servable: Path, rows: TableRows, out: Path, made_from: str | None = None) -> None:
    """Writes a copy of a servable with another item table.

    Every file is copied bit for bit but the variables' checkpoint (the table's tensors replaced), `fingerprint.pb`
    (which hashes that checkpoint) and `assets.extra/twin.json` (table rows, created, made from; coverage is unknown).

    Args:
        servable: A SavedModel directory.
        rows: The new table, of any number of rows; see `assemble_rows`.
        out: Directory to write into.
        made_from: What the rows were made from, for `twin.json`; the servable's path without it.

    Raises:
        ServableTableError: If the rows differ from the servable's table in type, width or features.
    """
    _check_fits(servable, read_spec(servable), rows)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(servable, out, dirs_exist_ok=True, ignore=_ignore_variables_of(servable))
    reader = _reader(servable)
    values = _ids_and_their_index(rows.ids) | {"projection": rows.projection, "scale": rows.scale}
    values |= {f"index/{feature}": value for feature, value in rows.index.items()}
    keys = _table_keys(servable, reader)
    replaced = {key: values[name] for name, key in keys.items()}
    replaced |= moved_search_values(reader, keys["ids"], rows.ids)
    write_checkpoint(reader, replaced, out)
    update_fingerprint(out)
    _update_twin_json(out, rows, made_from or str(servable))


def write_projector(servable: Path, out: Path) -> None:
    """Writes a copy of a servable for `project_items` alone: small to load, and complete.

    Its table holds no projections, which the signature does not read, but every item that has an embedding of its own
    (`assets.extra/known_ids.npy`), also those that the servable's table has lost: an item that comes back to the
    catalog finds its embedding again. Of the other signatures of the copy nothing is promised.
    """
    reader = _reader(servable)
    spec, keys = read_spec(servable), _table_keys(servable, reader)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(servable, out, dirs_exist_ok=True, ignore=_ignore_variables_of(servable))
    replaced = {keys["projection"]: np.zeros([1, spec.projection_dim], spec.dtype)}
    known_file = servable / KNOWN_IDS
    if known_file.is_file():
        known = np.load(known_file, allow_pickle=False)
        order = np.argsort(known)
        ids = np.concatenate([[UNKNOWN_ID], known[order]]).astype(np.int64)
        replaced |= {keys[name]: value for name, value in _ids_and_their_index(ids).items()}
        replaced[keys["index/item_id"]] = np.concatenate([[0], order + 1]).astype(np.int32)
    write_checkpoint(reader, replaced, out)


def _reader(servable: Path) -> Any:
    if not (servable / "saved_model.pb").is_file() or not (servable / f"{VARIABLES}.index").is_file():
        raise ServableTableError(f"{servable}: no SavedModel (expected saved_model.pb and variables/variables.index)")
    return tf.train.load_checkpoint(str(servable / VARIABLES))


def _table_keys(servable: Path, reader: Any) -> dict[str, str]:
    keys: dict[str, str] = {}
    for key in reader.get_variable_to_shape_map():
        match = _KEY.fullmatch(key)
        if match:
            # The checkpoint escapes "/" within a name as ".S" and "." as "..".
            name = re.sub(r"\.([S.])", lambda m: "/" if m[1] == "S" else ".", match[1])
            keys[name] = key
    missing = {"ids", "id_index/keys", "id_index/rows", "projection", "scale"} - set(keys)
    if missing:
        raise ServableTableError(f"{servable}: its checkpoint has no item_table variables {sorted(missing)}")
    return keys


def _ids_and_their_index(ids: np.ndarray) -> dict[str, np.ndarray]:
    keys, rows = id_index.build(ids[1:])
    return {"ids": ids, "id_index/keys": keys, "id_index/rows": rows}


def _empty_table(spec: TableSpec, ids: np.ndarray, scale: np.ndarray) -> TableRows:
    index = {
        feature: aligned([len(ids)] if width is None else [len(ids), width], np.dtype(np.int32))
        for feature, width in spec.index.items()
    }
    table = TableRows(ids, aligned([len(ids), spec.projection_dim], spec.dtype), scale, index)
    for values in (table.projection, *index.values()):
        values[0] = 0
    return table


def _quantise(projection: np.ndarray, spec: TableSpec, scale: np.ndarray) -> np.ndarray:
    if spec.dtype != np.int8:
        return projection.astype(spec.dtype, copy=False)
    steps = np.rint(projection / np.repeat(scale, spec.projection_dim // spec.heads))
    return np.clip(steps, -127, 127).astype(np.int8)


def _check_fits(servable: Path, spec: TableSpec, rows: TableRows) -> None:
    count = len(rows.ids)
    expected = {
        "ids": ((count,), np.dtype(np.int64)),
        "projection": ((count, spec.projection_dim), spec.dtype),
        "scale": ((spec.heads,), np.dtype(np.float32)),
        **{
            f"index/{feature}": ((count,) if width is None else (count, width), np.dtype(np.int32))
            for feature, width in spec.index.items()
        },
    }
    values = {"ids": rows.ids, "projection": rows.projection, "scale": rows.scale}
    values |= {f"index/{feature}": value for feature, value in rows.index.items()}
    if values.keys() != expected.keys():
        raise ServableTableError(f"{servable}: its item table has {sorted(expected)}, the new rows {sorted(values)}")
    for name, value in values.items():
        if (value.shape, value.dtype) != expected[name]:
            shape, dtype = expected[name]
            raise ServableTableError(
                f"{servable}: item_table/{name} is {dtype} {list(shape)}, "
                f"the new rows {value.dtype} {list(value.shape)}"
            )
    if rows.ids[:1].tolist() != [UNKNOWN_ID] or np.any(rows.ids[1:] <= rows.ids[:-1]):
        raise ServableTableError("item ids must be strictly ascending, row 0 the unknown item (the smallest int64)")


def _ignore_variables_of(servable: Path) -> Callable[[str, list[str]], set[str]]:
    return lambda folder, names: {"variables"} & set(names) if Path(folder) == servable else set()


def _update_twin_json(servable: Path, rows: TableRows, made_from: str) -> None:
    file = servable / TWIN_JSON
    file.parent.mkdir(parents=True, exist_ok=True)
    content = json.loads(file.read_text()) if file.is_file() else {}
    content |= {
        "table_rows": len(rows.ids),
        "table_coverage": None,
        "made_from": made_from,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    file.write_text(json.dumps(content, indent=2) + "\n")
