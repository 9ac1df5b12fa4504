"""`twin bench serving`: latency and throughput of the servable, beside a plain graph of equal answers."""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table


def bench_serving(
    candidates: Annotated[int, typer.Option(min=1, help="Candidates N of a request.")] = 100,
    history_length: Annotated[int, typer.Option(min=100, help="Behaviours L of the user.")] = 10_000,
    rows: Annotated[int, typer.Option(min=1000, help="Rows of the item table.")] = 1_000_000,
    dtype: Annotated[str, typer.Option(help="Type of the stored projections: float32, bfloat16 or int8.")] = "float32",
    repeats: Annotated[int, typer.Option(min=10, help="Timed requests to either graph.")] = 100,
    clients: Annotated[str, typer.Option(help="Numbers of clients at once, for the throughput; empty = none.")] = "",
    batching: Annotated[
        Path | None, typer.Option(help="Batching parameters for the server.", exists=True, dir_okay=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and request.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object on the last line.")] = False,
) -> None:
    """Measure a request of one user over gRPC at the paper's widths: 4 heads x 32, 64/64/8/8, 4 cross features.

    The same server also holds a plain graph of equal answers (tf.math.top_k over the whole history per head, value
    projection per retrieved behaviour), asked in turn with the servable. floor_ms is the time of the projections'
    gather, the score product and one reading of the scores. p50_alone_ms is the servable asked without the plain graph
    in between, in_process_ms the same answer without the network.

    Example: `twin bench serving --candidates 500 --clients 1,2,4,8 --json`
    """
    from model.config import TwinConfig
    from model.errors import UserError

    dtypes = {"float32": 4, "bfloat16": 2, "int8": 1}
    if dtype not in dtypes:
        raise UserError(f"--dtype: expected one of {', '.join(dtypes)}, got {dtype!r}")
    counts = [int(count) for count in clients.split(",") if count.strip()]
    console = Console(stderr=as_json)
    config = TwinConfig(history_length=history_length, table_dtype=dtype)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory(prefix="twin-bench-serving-") as name:
        from pipelines.bench_ranker import bench_request
        from pipelines.serving_bench import floor_ms, write_servables
        from serving.bench import in_process_ms, latencies, request_kb, running_server, throughput

        folder = Path(name)
        models = {"twin": folder / "twin", "plain": folder / "plain"}
        with console.status("Exporting both graphs"):
            write_servables(models["twin"] / "1", models["plain"] / "1", rows, config, seed)
            request = bench_request(rows, history_length, candidates, seed)
        flags = (f"--batching_parameters_file={batching}", "--enable_batching") if batching else ()
        with console.status("Loading the server"), running_server(models, folder, flags) as server:
            console.print(f"asking {repeats} times each")
            measured = latencies(server.address, ("twin", "plain"), request, repeats)
            alone = latencies(server.address, ("twin",), request, repeats)["twin"]
            per_s = {count: throughput(server.address, "twin", request, count, 10.0) for count in counts}
        on_disk = sum(file.stat().st_size for file in models["twin"].rglob("*") if file.is_file())
        with running_server({"twin": models["twin"]}, folder, flags) as lone:
            load_s, server_rss = lone.load_s, lone.process.memory_info().rss
        report: dict[str, Any] = {
            **{name: round(value, 2) for name, value in vars(measured["twin"]).items()},
            "plain_p50_ms": round(measured["plain"].p50_ms, 2),
            "ratio_vs_plain": round(measured["twin"].p50_ms / measured["plain"].p50_ms, 3),
            "p50_alone_ms": round(alone.p50_ms, 2),
            "in_process_ms": round(in_process_ms(models["twin"] / "1", request, repeats), 2),
            "floor_ms": round(floor_ms(rows, config, history_length, candidates), 2),
            "request_kb": round(request_kb(request), 1),
            "rows": rows,
            "table_bytes": (rows + 1) * config.projection_dim * dtypes[dtype],
            "dtype": dtype,
            "candidates": candidates,
            "history_length": history_length,
            "servable_gb": round(on_disk / 1e9, 3),
            "server_start_s": round(load_s, 2),
            "server_rss_gb": round(server_rss / 1e9, 3),
            "requests_per_s_by_clients": {str(count): round(value, 1) for count, value in per_s.items()},
        }
    table = Table("", "", show_header=False, box=None)
    for key, value in report.items():
        table.add_row(key.replace("_", " "), str(value))
    console.print(table)
    if as_json:
        print(json.dumps(report))
