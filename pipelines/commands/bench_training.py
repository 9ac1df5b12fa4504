"""`twin bench training`: targets per second, and where the time goes."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def bench_training(
    history_length: Annotated[int, typer.Option(min=100, help="Behaviours L per history.")] = 10_000,
    items: Annotated[int, typer.Option(min=1000, help="Items in the table.")] = 100_000,
    steps: Annotated[int, typer.Option(min=5, help="Steps to time, after three to warm up.")] = 30,
    users_per_batch: Annotated[int, typer.Option(min=1, help="Windows per step.")] = 8,
    targets_per_window: Annotated[int, typer.Option(min=1, help="Targets that share a history.")] = 64,
    table_refresh_steps: Annotated[int, typer.Option(min=1, help="Steps between two table refreshes.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of data and weights.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object on the last line.")] = False,
) -> None:
    """Measure training at the paper's widths: 4 heads x 32, features 64/64/8/8, 4 cross features, 100 retrieved.

    Runs the real input function, train step and table refreshes on generated per-user Examples. A step trains
    users-per-batch x targets-per-window targets.

    Example: `twin bench training --history-length 10000 --json`
    """
    from model.config import TwinConfig
    from pipelines.training_bench import measure_training

    config = TwinConfig(
        history_length=history_length,
        users_per_batch=users_per_batch,
        targets_per_window=targets_per_window,
        table_refresh_steps=table_refresh_steps,
    )
    console = Console(stderr=as_json)
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as folder, console.status("training"):
        speed = measure_training(Path(folder), config, items, steps, seed)
    table = Table("", "", show_header=False, box=None)
    table.add_row("targets per second", f"{speed.targets_per_s:,.0f}")
    table.add_row("step of " + f"{users_per_batch * targets_per_window} targets", f"{speed.step_s * 1000:.0f} ms")
    table.add_row("peak memory", f"{speed.peak_rss_gb:.2f} GB")
    for part, share in speed.share.items():
        table.add_row(f"share of {part.replace('_', ' ')}", f"{share:.1%}")
    console.print(table)
    if as_json:
        report = {
            "targets_per_s": round(speed.targets_per_s, 1),
            "peak_rss_gb": round(speed.peak_rss_gb, 3),
            "step_s": round(speed.step_s, 4),
            "share": {part: round(value, 4) for part, value in speed.share.items()},
            "history_length": history_length,
            "items": items,
            "targets_per_step": users_per_batch * targets_per_window,
        }
        print(json.dumps(report))
