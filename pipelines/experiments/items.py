"""What items are, in words a person can read."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from model.feature import Feature
from model.schema import DatasetSchema, item_key
from pipelines.experiments.dataset import raw_files

_NAMES = ("title", "name", "caption")
_LONGEST = 160


def describe_items(data: Path, schema: DatasetSchema, wanted: Collection[int]) -> dict[int, str]:
    """Texts of items: their title where the table has one, then the other columns that the schema knows.

    Args:
        data: Folder of the raw tables.
        schema: Their columns.
        wanted: Item keys.
    """
    texts: dict[int, str] = {}
    columns = {schema.item_id.name, *_NAMES, *(feature.name for feature in schema.inherent)}
    for file in raw_files(data, "items"):
        if not file.stat().st_size:
            continue
        table = _read_parquet(file, columns) if file.suffix == ".parquet" else _read_csv(file, schema.item_id.name)
        ids = [_key(value, schema.item_id) for value in table[schema.item_id.name].to_pylist()]
        rows = [at for at, key in enumerate(ids) if key in wanted]
        for at, row in zip(rows, pc.take(table, pa.array(rows, pa.int64())).to_pylist(), strict=True):
            texts.setdefault(cast(int, ids[at]), _describe(row, [f.name for f in schema.inherent]))
    return texts


def _read_parquet(file: Path, columns: Collection[str]) -> pa.Table:
    table = pq.read_table(file, columns=[name for name in pq.read_schema(file).names if name in columns])
    plain = [column.cast(_decoded(column.type)) for column in table.columns]
    table = pa.table(plain, names=table.column_names)
    return table.cast(pa.schema([(field.name, _as_bytes(field.type)) for field in table.schema]))


def _decoded(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """Texts as bytes, since a column of text may hold what is not UTF-8, and then cannot become Python's."""
    if pa.types.is_list(kind):
        return pa.list_(_as_bytes(kind.value_type))
    return pa.binary() if kind in (pa.string(), pa.large_string()) else kind


def _read_csv(file: Path, item_id: str) -> pa.Table:
    # Ids as they are, since Arrow would take 007 for a number, and a column with one letter in it for text.
    return pa.csv.read_csv(
        file,
        parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda row: "skip"),
        convert_options=pa.csv.ConvertOptions(column_types={item_id: pa.binary()}, strings_can_be_null=True),
    )


def _key(value: int | str | bytes | None, item_id: Feature) -> int | None:
    """An item's key; None for what is no id, which the pipeline puts among the dead letters."""
    if value is None:
        return None
    if item_id.dtype == "string":
        return item_key(_text(value))
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def _describe(row: dict[str, Any], features: list[str]) -> str:
    title = next((_text(row[name]) for name in _NAMES if row.get(name)), None)
    if title is not None:
        return title if len(title) <= _LONGEST else f"{title[:_LONGEST]}…"
    parts = []
    for name in features:
        value = row.get(name)
        if isinstance(value, float):
            value = f"{value:.3g}"
        value = " ".join(map(_text, value)) if isinstance(value, list) else _text(value)
        parts.append(f"{name.removesuffix('_id').replace('_', ' ')} {value}")
    return ", ".join(parts)


def _text(value: Any) -> str:
    # Arrow gives bytes for what is not UTF-8.
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
