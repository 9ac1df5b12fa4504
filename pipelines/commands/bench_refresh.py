"""`twin bench refresh`: how fast a new item table is made."""

import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table


def bench_refresh(
    items: Annotated[int, typer.Option(min=1000, help="Items of the generated catalog.")] = 500_000,
    seed: Annotated[int, typer.Option(help="Seed of the catalog and the weights.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
    beam_args: Annotated[
        list[str] | None, typer.Argument(help="Beam's own flags, after --, passed on as they are.", show_default=False)
    ] = None,
) -> None:
    """Measure a refresh at the paper's widths: item id 64 + author 64 + topics 8 + duration 8 -> 4 heads of 32.

    items_per_s_per_core is the projection step alone (raw features to projections, batches as the job makes them, one
    core); share_of_gemm_limit compares it with the bare matrix product of the same shape in the same run;
    rows_per_s_end_to_end is a whole `twin refresh` of a generated catalog, from reading to publishing.

    Example: twin bench refresh --items 2000000 --json
    """
    console = Console(stderr=as_json)
    with tempfile.TemporaryDirectory(prefix="twin-bench-refresh-") as folder:
        with console.status("Exporting a model and writing a catalog"):
            from model.config import TwinConfig
            from pipelines.refresh_bench import measure_step, write_catalog, write_servable

            root = Path(folder)
            servable = root / "model" / "1"
            write_servable(servable, items, TwinConfig(), seed)
            write_catalog(root / "data", items, seed)
        with console.status("Measuring the projection step on one core"):
            speed = measure_step(servable, items, seed)
        console.print(f"Refreshing {items:,} items")
        start = time.perf_counter()
        seconds = _refresh(root, servable, beam_args or [], console)
        elapsed = time.perf_counter() - start
    result: dict[str, Any] = {
        "items": items,
        **dataclasses.asdict(speed),
        "rows_per_s_end_to_end": items / elapsed,
        "rows_per_s_projection_job": items / seconds["project"],
        "end_to_end_s": elapsed,
        "peak_rss_gb": _peak_rss_gb(),
        "step_s": seconds,
    }
    _print(console, result)
    if as_json:
        print(json.dumps(result))


def _refresh(root: Path, servable: Path, beam_args: list[str], console: Console) -> dict[str, float]:
    from model.schema import load_schema
    from pipelines.beam_options import beam_options
    from pipelines.progress_display import make_display
    from pipelines.refresh import refresh
    from serving.publisher import publish

    with make_display(console) as display:
        report = refresh(
            servable,
            str(root / "data"),
            load_schema("simulated"),
            beam_options(beam_args),
            publish=lambda build: publish(servable.parent, build),
            work=root / "work",
            show=display.show,
        )
    return report.seconds


def _peak_rss_gb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _print(console: Console, result: dict[str, Any]) -> None:
    table = Table(show_header=False)
    table.add_row("projection step, one core", f"{result['items_per_s_per_core']:,.0f} items/s")
    table.add_row("share of the bare matrix product", f"{result['share_of_gemm_limit']:.0%}")
    table.add_row("whole refresh", f"{result['rows_per_s_end_to_end']:,.0f} rows/s")
    table.add_row("of it the Beam job", f"{result['rows_per_s_projection_job']:,.0f} rows/s")
    table.add_row("peak memory", f"{result['peak_rss_gb']:.1f} GB")
    console.print(table)
