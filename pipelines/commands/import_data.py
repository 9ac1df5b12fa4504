"""`twin import`: known layouts, or any tables, into a data set folder."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from pipelines.importers.report import ImportReport


class Layout(StrEnum):
    """A layout that can be imported."""

    KUAIRAND = "kuairand"
    UN_VOTES = "un_votes"
    TABLES = "tables"


def import_data(
    layout: Annotated[Layout, typer.Argument(help="What the source is.")],
    source: Annotated[Path, typer.Argument(help="Folder of the source's files.")],
    out: Annotated[Path, typer.Argument(help="Data set folder to write; it appears only when complete.")],
    schema: Annotated[
        str | None, typer.Option(help="tables: schema folder, or the name of one under schemas/.", show_default=False)
    ] = None,
    target_share: Annotated[
        float, typer.Option(help="Share of the events, the latest, that are targets; the rest is history only.")
    ] = 0.3,
    eval_share: Annotated[float, typer.Option(help="Share of the events that are eval targets.")] = 0.05,
    test_share: Annotated[float, typer.Option(help="Share of the events, the last, that are test targets.")] = 0.05,
    starts: Annotated[
        str | None,
        typer.Option(
            help="tables: start of train, eval and test instead of the shares: three dates or times (UTC) or "
            "milliseconds, comma between: 2024-01-01,2024-02-01,2024-02-08T12:00",
            show_default=False,
        ),
    ] = None,
    train_from_session: Annotated[
        int, typer.Option(help="un_votes: first session of train targets; eval is session 65, test 66 and later.")
    ] = 46,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing data set folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object on the last line.")] = False,
) -> None:
    """Bring a known data set, or any Parquet or CSV tables, into a data set folder for `twin run`.

    `kuairand`: an unpacked KuaiRand-1K, -27K or -Pure. `un_votes`: votes.parquet and roll_calls.parquet.
    `tables`: events, items and users as .parquet, .csv or folders of them, columns named as in the schema folder.

    Example: `twin import tables logs/ data/mine --schema schemas/mine --eval-share 0.1`
    """
    from model.errors import UserError

    if (schema is None) == (layout == Layout.TABLES):
        raise UserError(
            f"--schema goes with the layout 'tables', which needs it; got {layout.value!r} and --schema {schema}"
        )
    if starts is not None and layout != Layout.TABLES:
        raise UserError(f"--starts goes with the layout 'tables', got {layout.value!r}")
    shares = {"target_share": target_share, "eval_share": eval_share, "test_share": test_share}
    bar = Progress(SpinnerColumn(), TextColumn("{task.completed:,.0f} rows"), TimeElapsedColumn(), console=_err())
    if layout == Layout.KUAIRAND:
        from pipelines.importers.kuairand import import_kuairand

        with bar:
            task = bar.add_task("rows", total=None)
            report = import_kuairand(
                source, out, **shares, overwrite=overwrite, on_rows=lambda rows: bar.advance(task, rows)
            )
    elif layout == Layout.UN_VOTES:
        from pipelines.importers.un_votes import import_un_votes

        report = import_un_votes(source, out, train_from_session=train_from_session, overwrite=overwrite)
    else:
        from pipelines.importers.tables import import_tables

        starts_ms = None if starts is None else parse_starts(starts)
        report = import_tables(source, schema or "", out, **shares, starts_ms=starts_ms, overwrite=overwrite)
    _print(report, as_json)


def parse_starts(text: str) -> tuple[int, int, int]:
    """Three comma-separated ISO times (UTC where they name no zone) or milliseconds, as milliseconds.

    Raises:
        UserError: If there are not three or one does not parse.
    """
    from model.errors import UserError

    try:
        train, evaluation, test = (_to_ms(part.strip()) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"--starts: expected three dates, times or milliseconds with commas between, got {text!r}"
        ) from None
    return train, evaluation, test


def _to_ms(text: str) -> int:
    if text.lstrip("-").isdigit() and len(text) > 8:
        return int(text)
    time = datetime.fromisoformat(text)
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def _err() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def _print(report: "ImportReport", as_json: bool) -> None:
    console = _err() if as_json else Console(highlight=False, soft_wrap=True)
    console.print(f"{report.out}: " + ", ".join(f"{rows:,} {table}" for table, rows in report.rows.items()))
    console.print(f"Next: twin run --data {report.out}")
    if as_json:
        split = {name: getattr(report.split, name) for name in report.split.__dataclass_fields__}
        print(json.dumps({"out": str(report.out), "rows": report.rows, "split": split}))
