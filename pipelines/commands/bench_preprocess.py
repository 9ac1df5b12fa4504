"""`twin bench preprocess`: how fast raw logs become training examples."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def bench_preprocess(
    data: Annotated[
        Path | None, typer.Option(help="A data set folder with dataset.json; without it one is simulated.")
    ] = None,
    users: Annotated[int, typer.Option(help="Users to simulate.", min=1)] = 200,
    events_per_user: Annotated[int, typer.Option(help="Mean events per simulated user.", min=1)] = 5_000,
    items: Annotated[int, typer.Option(help="Items to simulate.", min=1)] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
    beam: Annotated[
        list[str] | None, typer.Option("--beam", help="A Beam flag, such as --beam=--runner=FlinkRunner; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Measure preprocessing end to end: reading, checking, grouping by user, writing, and reading back to count.

    The simulation is not part of the time. The peak is the whole process's, Python and Beam included.

    Example: `twin bench preprocess --users 1000 --events-per-user 12000 --json`
    """
    from pipelines.preprocess.bench import measure

    console = Console(stderr=as_json)
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as folder:
        if data is None:
            from pipelines.simulator import simulate

            data = Path(folder) / "data"
            console.print(f"simulating {users:,} users x {events_per_user:,} events, {items:,} items ...")
            simulate(data, users, events_per_user, items, seed)
        console.print("preprocessing ...")
        measured = measure(data, Path(folder) / "out", beam or [])
    console.print(
        f"{measured['events']:,} events in {measured['seconds']:.1f} s: "
        f"[bold]{measured['events_per_s']:,.0f} events/s[/], peak memory {measured['peak_rss_gb']:.2f} GB"
    )
    if as_json:
        print(json.dumps(measured))
