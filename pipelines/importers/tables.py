"""Brings any Parquet or CSV tables that fit a schema folder into a data set folder."""

import shutil
import sys
import time
from pathlib import Path

import numpy as np

from model.feature import Feature, Table
from model.schema import load_schema
from pipelines.dataset_folder import TimeSplit, new_dataset_folder, write_dataset_json
from pipelines.importers.errors import DataImportError
from pipelines.importers.report import ImportReport
from pipelines.importers.time_checks import DAY_MS, check_splits, unit_warning
from pipelines.importers.times import TimeSample, sample_times
from pipelines.readers import RawTable, Span, open_table, read_chunks

_SAMPLE_ROWS = 1_000


def import_tables(
    source: Path,
    schema_folder: Path | str,
    out: Path,
    *,
    target_share: float = 0.3,
    eval_share: float = 0.05,
    test_share: float = 0.05,
    starts_ms: tuple[int, int, int] | None = None,
    overwrite: bool = False,
) -> ImportReport:
    """Checks the columns of `events`, `items` and `users` against a schema and copies the files bit for bit.

    Single bad cells are no matter here: preprocessing puts such rows into the dead letters. A column that is missing or
    of another type throughout is an error. Events more than a day ahead of this machine's clock do not move the end of
    the test split, so preprocessing finds them in the future; this, times that seem to be no milliseconds and an empty
    eval or test split are told on stderr.

    Args:
        source: Folder with `events.parquet`, `events.csv` or a folder `events/` of such files; `items` and, where the
            schema has them, `users` likewise.
        schema_folder: A schema folder, or the name of one under `schemas/`.
        out: Data set folder to write; appears only when complete.
        target_share, eval_share, test_share: Shares of the events, the latest, that are targets, eval and test targets.
        starts_ms: Start of train, eval and test in ms, instead of the shares.
        overwrite: Whether to replace an existing data set folder.

    Raises:
        RawDataError: If a table or column is missing, or a Parquet column is of the wrong type.
        DataImportError: If a table has no rows, a CSV column is of the wrong type, no event has a usable time, or the
            train split is empty.
        DatasetFolderError: If `out` exists, cannot be replaced or holds what is read, or the split is impossible.
        SchemaError: If the schema is wrong.
    """
    schema = load_schema(schema_folder)
    tables: list[Table] = ["events", "items"] if schema.user_key is None else ["events", "items", "users"]
    found = {table: open_table(str(source), table, schema) for table in tables}
    files = {table: [Path(f) for f in found[table].files if f not in found[table].empty_files] for table in tables}
    for table in tables:
        if not files[table]:
            raise DataImportError(
                f"{source}: table {table!r} has no rows; its files are {', '.join(found[table].files)}"
            )
        for file in files[table]:
            _check_csv_values(file, schema.columns(table))
    rows: dict[str, int] = {table: _rows(found[table]) for table in tables}
    times = _times(files["events"], schema.timestamp.name)
    split = _split(times, target_share, eval_share, test_share, starts_ms)
    for warning in check_splits(times, split):
        _warn(warning)
    with new_dataset_folder(out, overwrite, reads=[source, schema.folder]) as folder:
        for table in tables:
            (folder / table).mkdir()
            for number, file in enumerate(files[table]):
                shutil.copyfile(file, folder / table / f"part-{number:05d}{file.suffix}")
        write_dataset_json(folder, schema, split, imported_from="tables", rows=rows)
    return ImportReport(out, rows, split)


def _times(files: list[Path], column: str) -> TimeSample:
    now_ms = time.time_ns() // 1_000_000
    times = sample_times(files, column, before_ms=now_ms + DAY_MS)
    where = f"{files[0]}: column {column!r}"
    if not len(times.sample_ms):
        first = unit_warning(times.first_future_ms, now_ms) if times.future else None
        raise DataImportError(
            f"{where}: no event has a usable time: expected milliseconds since 1970, not after today; "
            + (first or "none can be read as such")
        )
    unit = unit_warning(int(np.median(times.sample_ms)), now_ms)
    if unit:
        _warn(f"{where}: {unit}")
    if times.future:
        _warn(
            f"{where}: {times.future:,} events lie more than a day in the future, the first at "
            f"{times.first_future_ms}; they will be dead letters (future_time)"
        )
    return times


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _split(
    times: TimeSample,
    target_share: float,
    eval_share: float,
    test_share: float,
    starts_ms: tuple[int, int, int] | None,
) -> TimeSplit:
    if starts_ms is None:
        return TimeSplit.by_share(times.sample_ms, target_share, eval_share, test_share)
    return TimeSplit(*starts_ms, end_ms=max(times.last_ms + 1, starts_ms[-1]))


def _rows(table: RawTable) -> int:
    return table.parquet_rows + sum(max(_lines(Path(f)) - 1, 0) for f in table.files if f.endswith(".csv"))


def _lines(file: Path) -> int:
    with open(file, "rb") as lines:
        return sum(1 for _ in lines)


def _check_csv_values(file: Path, features: tuple[Feature, ...]) -> None:
    """Looks at the first rows: a numeric column without one readable value is of the wrong type."""
    if file.suffix != ".csv":
        return
    chunk = next(read_chunks(Span(str(file), 0, None, 1, tuple(f.name for f in features))), None)
    if chunk is None:
        return
    for feature in features:
        if feature.dtype == "string":
            continue
        cells = chunk.columns[feature.name].slice(0, _SAMPLE_ROWS).to_pylist()
        values = [cell for cell in cells if cell.strip()]
        if values and not any(_readable(value, feature) for value in values):
            first = values[0].decode("utf-8", "replace")
            raise DataImportError(
                f"{file}: column {feature.name!r}: expected {feature.dtype}, got {first!r} (no readable value "
                f"in the first {len(cells)} rows)"
            )


def _readable(value: bytes, feature: Feature) -> bool:
    parse = int if feature.dtype == "int64" else float
    try:
        for part in value.split(b"|") if feature.multi_hot else [value]:
            if part.strip():
                parse(part)
    except ValueError:
        return False
    return True
