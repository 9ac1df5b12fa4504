"""Brings any Parquet or CSV tables that fit a schema folder into a data set folder."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pv

from model.schema import Feature, Table, load_schema
from pipelines.dataset_folder import TimeSplit, new_dataset_folder, write_dataset_json
from pipelines.importers.errors import DataImportError
from pipelines.importers.report import ImportReport
from pipelines.importers.times import TimeSample, sample_times
from pipelines.readers import RawTable, open_table

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
    of another type throughout is an error.

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
        DataImportError: If a table has no rows or a CSV column is of the wrong type.
        DatasetFolderError: If `out` exists or the split is impossible.
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
    times = sample_times(files["events"], schema.timestamp.name)
    split = _split(times, target_share, eval_share, test_share, starts_ms)
    with new_dataset_folder(out, overwrite) as folder:
        for table in tables:
            (folder / table).mkdir()
            for number, file in enumerate(files[table]):
                shutil.copyfile(file, folder / table / f"part-{number:05d}{file.suffix}")
        write_dataset_json(folder, schema, split, imported_from="tables", rows=rows)
    return ImportReport(out, rows, split)


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
    options = pv.ConvertOptions(column_types={f.name: pa.string() for f in features})
    parse = pv.ParseOptions(invalid_row_handler=lambda _: "skip", newlines_in_values=True)
    try:
        batch = pv.open_csv(file, parse_options=parse, convert_options=options).read_next_batch()
    except StopIteration:
        return
    except pa.ArrowInvalid as error:
        raise DataImportError(f"{file}: not a readable CSV file: {error}") from None
    for feature in features:
        if feature.dtype == "string":
            continue
        cells = batch.column(batch.schema.get_field_index(feature.name)).slice(0, _SAMPLE_ROWS).to_pylist()
        values = [cell for cell in cells if cell]
        if values and not any(_readable(value, feature) for value in values):
            raise DataImportError(
                f"{file}: column {feature.name!r}: expected {feature.dtype}, got {values[0]!r} (no readable value "
                f"in the first {len(cells)} rows)"
            )


def _readable(value: str, feature: Feature) -> bool:
    parse = int if feature.dtype == "int64" else float
    try:
        for part in value.split("|") if feature.multi_hot else [value]:
            parse(part)
    except ValueError:
        return False
    return True
