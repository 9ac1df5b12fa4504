"""Reads the projection shards back: checked against their manifest, sorted into an item table."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from model.servable_table import TableChunk, TableRows, TableSpec, assemble_rows
from pipelines.project_items import ITEM_ID, PROJECTION, ProjectionError, matrix
from pipelines.projection_manifest import MANIFEST

_INDEX = "index/"


def read_rows(folder: Path, spec: TableSpec) -> TableRows:
    """The shards as rows of a servable's item table; memory is that of the table and one row group.

    Args:
        folder: What the projection job wrote.
        spec: The servable's table, whose type the projections get.

    Raises:
        ProjectionError: If the manifest is missing, or a shard is missing, damaged, of another width or length.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise ProjectionError(f"{folder}: no {MANIFEST}; the projection job did not finish, run it again")
    manifest: dict[str, Any] = json.loads(file.read_text())
    if manifest["projection_dim"] != spec.projection_dim:
        raise ProjectionError(
            f"{folder}: projections are {manifest['projection_dim']} wide, the servable's {spec.projection_dim}"
        )
    shards = [folder / shard["file"] for shard in manifest["shards"]]
    for path, shard in zip(shards, manifest["shards"], strict=True):
        _check(path, shard)
    ids = [pq.read_table(path, columns=[ITEM_ID]).column(0).to_numpy() for path in shards]
    item_id = np.concatenate([np.zeros(0, np.int64), *ids])
    if len(item_id) != manifest["rows"]:
        raise ProjectionError(f"{folder}: {MANIFEST} names {manifest['rows']} rows, the shards have {len(item_id)}")
    max_abs = np.asarray(manifest["max_abs"], np.float32)
    return assemble_rows(spec, item_id, max_abs, (chunk for path in shards for chunk in _chunks(path, spec)))


def _check(path: Path, shard: dict[str, Any]) -> None:
    if not path.is_file():
        raise ProjectionError(f"{path}: missing, although {MANIFEST} names it; run the projection job again")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != shard["sha256"]:
        raise ProjectionError(f"{path}: damaged: SHA-256 {digest}, expected {shard['sha256']}; run the job again")


def _chunks(path: Path, spec: TableSpec) -> Iterator[TableChunk]:
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        table = file.read_row_group(group).combine_chunks()
        columns = {name: table.column(name).chunk(0) for name in table.column_names}
        missing = {_INDEX + feature for feature in spec.index} - set(columns)
        if missing:
            raise ProjectionError(f"{path}: no columns {sorted(missing)}, which the servable's item table needs")
        yield TableChunk(
            matrix(columns[PROJECTION]),
            {
                feature: columns[_INDEX + feature].to_numpy() if width is None else matrix(columns[_INDEX + feature])
                for feature, width in spec.index.items()
            },
        )
