"""`twin bench clustering`: how fast and how well lives are clustered."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def bench_clustering(
    behaviours: Annotated[int, typer.Option(help="Behaviours of the life.", min=1)] = 100_000,
    items: Annotated[int, typer.Option(help="Items of the simulated catalog.", min=40)] = 100_000,
    config: Annotated[
        Path | None, typer.Option(help="Configuration (max_cluster_size, partition_exponent, completion_groups).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Measure hierarchical clustering of one simulated life on one core, beside the other methods.

    hierarchical: adaptive parts; bisecting: two parts each time; kmeans: once, into clusters of max_cluster_size on
    average; chunks: consecutive behaviours. The vectors are drawn around the simulator's themes, see
    `pipelines.clustering.bench.simulated_life`. Simulating is not part of the time; the peak is the whole process's.

    Example: `twin bench clustering --behaviours 1000000 --items 500000 --json`
    """
    from model.config import TwinConfig
    from pipelines.clustering.bench import compare

    console = Console(stderr=as_json)
    settings = TwinConfig.load(config)
    with console.status(f"Clustering {behaviours:,} behaviours"):
        measured = compare(behaviours, items, settings, seed)
    table = Table("", *measured)
    for name in next(iter(measured.values())):
        table.add_row(name, *(f"{values[name]:,}" for values in measured.values()))
    console.print(table)
    if as_json:
        print(json.dumps(measured))
