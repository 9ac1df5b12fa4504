"""`twin simulate`: a data set whose true click probabilities are known."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def simulate(
    out: Annotated[Path, typer.Argument(help="Data set folder to write; it appears only when complete.")],
    users: Annotated[int, typer.Option(help="Number of users.")] = 200,
    events_per_user: Annotated[
        int, typer.Option(help="Mean events per user; single users have 0.5 to 1.5 times as many.")
    ] = 1_000,
    items: Annotated[int, typer.Option(help="Size of the catalog.")] = 5_000,
    targets: Annotated[
        int | None,
        typer.Option(help="About how many events, the latest, are targets; the rest is history only. Default: 30 %."),
    ] = None,
    feed: Annotated[
        str,
        typer.Option(
            help="recurring: items come again and again, and items of a kind have nearly the same topics; "
            "fresh: an item comes once while --items lasts, and every author spells topics in an own way."
        ),
    ] = "recurring",
    seed: Annotated[int, typer.Option(help="The same seed gives the same rows.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing data set folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object on the last line.")] = False,
) -> None:
    """Simulate the log of a short-video feed, with the true probability of every click.

    Users have many interests; some are shown only once in months, so that only old behaviours tell whether the user
    likes them. The report's oracle AUC is what the true probabilities reach: the ceiling for any model on these data.

    The two feeds differ in what search has to do: in the recurring one equal topics find all that matters, in the fresh
    one likeness has to be learned. The latter needs a large catalog: with 100,000 items and 13,000 events a user 10 %
    of the events are of an item met before.

    Examples: `twin simulate data/demo` takes seconds;
    `twin simulate data/1k --users 1000 --events-per-user 11700 --items 500000 --targets 500000` has KuaiRand-1K's size.
    """
    from pipelines.simulator import simulate as write_simulation

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("users"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("users", total=users)
        report = write_simulation(
            out,
            users,
            events_per_user,
            items,
            seed,
            targets,
            feed,  # type: ignore[arg-type]  # checked there
            overwrite=overwrite,
            on_user=lambda: progress.advance(task),
        )
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    console.print(f"{report.out}: {report.events:,} events of {report.users:,} users, {report.behaviours:,} behaviours")
    console.print(f"  {report.met_before:.0%} of the events are of an item that the user has met before")
    for split, count in report.targets.items():
        best = report.oracle.get(split)
        ceiling = "" if best is None else f", oracle AUC {_show(best['auc'])}, GAUC {_show(best['gauc'])}"
        console.print(f"  {split}: {count:,} targets{ceiling}")
    console.print(f"Next: twin run --data {report.out}")
    if as_json:
        print(json.dumps(dataclasses.asdict(report) | {"out": str(report.out)}))


def _show(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
