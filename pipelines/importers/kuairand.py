"""Imports KuaiRand in its own file layout (KuaiRand-1K, -27K and -Pure)."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from model.feature import Dtype, Feature
from model.schema import DatasetSchema, load_schema
from pipelines.dataset_folder import ShardWriter, TimeSplit, new_dataset_folder, write_dataset_json
from pipelines.importers.csv_stream import stream_csv
from pipelines.importers.errors import DataImportError
from pipelines.importers.report import ImportReport
from pipelines.importers.times import sample_times

_BEHAVIOUR = "is_behaviour"
_ARROW: dict[Dtype, pa.DataType] = {"int64": pa.int64(), "string": pa.string(), "float32": pa.float32()}


def import_kuairand(
    source: Path,
    out: Path,
    *,
    target_share: float = 0.3,
    eval_share: float = 0.05,
    test_share: float = 0.05,
    overwrite: bool = False,
    on_rows: Callable[[int], None] = lambda _: None,
) -> ImportReport:
    """Streams all `log_*.csv`, `video_features_basic_*.csv` and `user_features_*.csv` into a data set folder.

    The label is `is_click`. An event is a behaviour if it was clicked or played at all (`play_time_ms` > 0), so
    histories hold liked and disliked videos and the cross features tell them apart. The columns are those the schema
    `kuairand` names. Logs of random exposure (`log_random_*`) are events like the others.

    Args:
        source: Folder with the CSV files, or the folder above its `data/`.
        out: Data set folder to write; appears only when complete.
        target_share, eval_share, test_share: Shares of the events, the latest, that are targets, eval and test targets.
        overwrite: Whether to replace an existing data set folder.
        on_rows: Called with the number of log rows written after each block.

    Raises:
        DataImportError: If a file or column is missing or a cell does not convert.
        DatasetFolderError: If `out` exists, cannot be replaced or holds what is read, or the shares are impossible.
    """
    schema = load_schema("kuairand")
    logs = _find(source, "log_*.csv")
    items = _find(source, "video_features_basic_*.csv")
    users = _find(source, "user_features_*.csv")
    with new_dataset_folder(out, overwrite, reads=[source]) as folder:
        rows = {
            "events": _write_events(logs, schema, folder / "events", on_rows),
            "items": _write_features(items, schema.columns("items"), folder / "items"),
            "users": _write_features(users, schema.columns("users"), folder / "users"),
        }
        times = sample_times(sorted((folder / "events").iterdir()), schema.timestamp.name)
        split = TimeSplit.by_share(times.sample_ms, target_share, eval_share, test_share)
        write_dataset_json(folder, schema, split, imported_from="kuairand", rows=rows)
    return ImportReport(out, rows, split)


def _find(source: Path, pattern: str) -> list[Path]:
    files = sorted(source.glob(pattern)) or sorted((source / "data").glob(pattern))
    if not files:
        raise DataImportError(f"{source}: no file {pattern}; expected the folder of an unpacked KuaiRand data set")
    return files


def _write_events(files: list[Path], schema: DatasetSchema, folder: Path, on_rows: Callable[[int], None]) -> int:
    types = {f.name: _ARROW[f.dtype] for f in schema.columns("events") if f.name != _BEHAVIOUR}
    with ShardWriter(folder) as writer:
        for file in files:
            for table in stream_csv(file, types):
                played = pc.greater(pc.fill_null(table["play_time_ms"], 0), 0)
                behaviour = pc.or_(played, pc.equal(pc.fill_null(table["is_click"], 0), 1))
                writer.write(table.append_column(_BEHAVIOUR, behaviour.cast(pa.int64())))
                on_rows(table.num_rows)
        return writer.rows


def _write_features(files: list[Path], features: tuple[Feature, ...], folder: Path) -> int:
    with ShardWriter(folder) as writer:
        for file in files:
            first_row = 2  # the header is row 1
            for table in stream_csv(file, {f.name: _csv_type(f) for f in features}):
                writer.write(pa.table({f.name: _typed(file, first_row, table[f.name], f) for f in features}))
                first_row += table.num_rows
        return writer.rows


def _csv_type(feature: Feature) -> pa.DataType:
    if feature.multi_hot:
        return pa.string()
    # KuaiRand writes some integer codes as 9.0.
    return pa.float64() if feature.dtype == "int64" else _ARROW[feature.dtype]


def _typed(file: Path, first_row: int, column: pa.ChunkedArray, feature: Feature) -> pa.ChunkedArray:
    try:
        return _to_declared_type(column, feature)
    except pa.ArrowInvalid:
        row, cell = next((i, c) for i, c in enumerate(column.to_pylist()) if not _converts(c, column.type, feature))
    expected = f"{feature.dtype} values with commas between" if feature.multi_hot else feature.dtype
    raise DataImportError(f"{file}: row {first_row + row}, column {feature.name!r}: expected {expected}, got {cell!r}")


def _converts(cell: object, dtype: pa.DataType, feature: Feature) -> bool:
    try:
        _to_declared_type(pa.chunked_array([pa.array([cell], dtype)]), feature)
    except pa.ArrowInvalid:
        return False
    return True


def _to_declared_type(column: pa.ChunkedArray, feature: Feature) -> pa.ChunkedArray:
    if not feature.multi_hot:
        return column.cast(_ARROW[feature.dtype])
    lists = pc.split_pattern(column, ",").cast(pa.list_(_ARROW[feature.dtype]))
    return pc.fill_null(lists, pa.scalar([], lists.type))
