"""`twin consistency`: does the search find what attention would choose?"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def consistency(
    run_dir: Annotated[Path | None, typer.Option(help="Run to measure. Default: the last one.")] = None,
    targets: Annotated[int, typer.Option(min=1, help="About how many targets of the eval split to measure.")] = 200,
    ages: Annotated[
        str, typer.Option(help="Table ages to measure, in training steps since the refresh, separated by commas.")
    ] = "1,3,10,30,100",
    table_dtype: Annotated[
        str, typer.Option(help="Types of stored projections to compare: float32, bfloat16, int8; separated by commas.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object on the last line.")] = False,
) -> None:
    """Print how much of what the exact stage would choose the fast search finds: hit@k.

    For each target, the ESU's relevance over the whole history gives the real top 100; hit@k is how many of them are
    among the first k that the CP-GSU ranks, as a percentage of the most that could be. A table made from the very
    weights that search gives 100; a table that training has left behind by some steps gives less, which is what
    refreshing it often is for.

    Example: `twin consistency --run-dir runs/demo --ages 10,100`
    """
    from typing import get_args

    from model.config import TableDtype
    from model.errors import UserError
    from pipelines.consistency import run_consistency
    from serving.last_run import last_run

    try:
        steps = sorted(int(age) for age in ages.split(",") if age.strip())
    except ValueError:
        raise UserError(f"--ages: expected numbers separated by commas, got {ages!r}") from None
    named = [dtype.strip() for dtype in table_dtype.split(",") if dtype.strip()]
    dtypes = [dtype for dtype in get_args(TableDtype) if dtype in named]
    if set(named) - set(dtypes):
        raise UserError(f"--table-dtype: expected {', '.join(get_args(TableDtype))}, got {table_dtype!r}")
    console = Console(stderr=as_json)
    with console.status("measuring"):
        report = run_consistency(run_dir or last_run(), targets, [age for age in steps if age > 0], dtypes)
    table = Table("first k of the search", "hit@k, %", title="fresh table", title_justify="left")
    for depth, value in report.fresh.hit_at.items():
        table.add_row(str(depth), f"{value:.2f}")
    aged = Table("table age, steps", "hit@100, %", title="older tables", title_justify="left")
    for age, value in report.by_age.items():
        aged.add_row(str(age), f"{value:.2f}")
    console.print(f"{report.fresh.targets} targets, {report.fresh.history:.0f} behaviours each on average")
    console.print(table, aged)
    if report.by_dtype:
        typed = Table("type", "hit@100, %", "AUC", "projections, MB", title="types of the table", title_justify="left")
        for dtype, of_type in report.by_dtype.items():
            auc = "-" if of_type.auc is None else f"{of_type.auc:.5f}"
            typed.add_row(dtype, f"{of_type.hit_at_100:.2f}", auc, f"{of_type.projection_bytes / 1e6:.1f}")
        console.print(typed)
    if as_json:
        print(json.dumps(report.as_json()))
