"""`twin demo`: everything once, on simulated logs."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table


def demo(
    run_dir: Annotated[Path, typer.Option(help="Where everything goes; a second demo there continues it.")] = Path(
        "runs/demo"
    ),
    users: Annotated[int, typer.Option(min=50, help="Simulated users, of about 1,000 events each.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object on the last line.")] = False,
) -> None:
    """Do everything once on simulated logs: data, training, serving, predictions, and a summary. At most 8 minutes.

    The simulator knows the true probability of every click, so the summary shows the best AUC any model could reach
    beside the model's own. Nothing is needed beforehand and nothing is left running.

    Example: `twin demo`
    """
    from pipelines.demo_steps import StepError
    from pipelines.runner_process import PipelineError

    console = Console(stderr=as_json)
    start = time.monotonic()
    try:
        report = _steps(console, run_dir, users)
    except (StepError, PipelineError) as error:
        Console(stderr=True).print(f"twin demo: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    report["seconds"] = round(time.monotonic() - start, 1)
    _show(console, report, run_dir)
    if as_json:
        print(json.dumps(report))


def _steps(console: Console, run_dir: Path, users: int) -> dict[str, Any]:
    from pipelines.demo_steps import StepError, ask, free_ports, measure, server
    from pipelines.run_summary import flatten
    from pipelines.runner_process import RunRequest, run_pipeline
    from serving.publisher import latest_version

    logs = run_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    data = run_dir / "data"
    if (data / "dataset.json").is_file():
        _check_users(data, users)
        console.print("[green]✓[/green] Simulated logs are there from an earlier demo")
    else:
        simulate = ["simulate", str(data), "--users", str(users)]
        measure(console, f"Simulated the logs of {users} users", simulate, logs / "simulate.log")

    config = Path(__file__).parent.parent / "demo.yaml"
    request = RunRequest(run_dir, data, "simulated", config)
    console.print(f"Running the TFX pipeline; the full log is {request.log}", highlight=False, soft_wrap=True)
    summary = run_pipeline(request, console)

    model_dir = run_dir / "servable"
    served = latest_version(model_dir)
    if served is None:
        raise StepError(f"the trained model was not pushed: {_refusal(summary)}; eval: {summary['metrics']['eval']}")
    ports = free_ports()
    start = time.monotonic()
    with console.status("Asking a server for predictions"), server(model_dir, ports, logs / "serve.log"):
        answers = ask(model_dir, ports, times=50)
    seconds = time.monotonic() - start
    console.print(f"[green]✓[/green] Served it, asked by gRPC and by REST [dim]{seconds:.0f} s[/dim]", highlight=False)

    compare = ["consistency", "--run-dir", str(run_dir), "--ages", "10"]
    report = measure(console, "Compared the search with the attention", compare, logs / "consistency.log")
    return {
        "version": summary["version"],
        "not_pushed_because": _refusal(summary),
        "served_version": served,
        "test": summary["metrics"]["test"],
        "oracle": summary["metrics"]["oracle"]["test"],
        "hit_at_100": dict(flatten(report))["fresh.hit_at_100"],
        "table_rows": summary["table"]["rows"],
        "table_coverage": summary["table"]["coverage"],
        "candidates": answers.pctr.shape[1],
        "history": answers.history,
        "grpc_p50_ms": round(answers.grpc_p50_ms, 2),
        "rest_p50_ms": round(answers.rest_p50_ms, 2),
        "protocols_differ_by": answers.largest_difference,
        "pipeline_seconds": summary["seconds"],
        "peak_rss_gb": summary["peak_rss_gb"],
        "servable": summary["paths"]["servable"],
    }


def _refusal(summary: dict[str, Any]) -> str | None:
    if summary["pushed"]:
        return None
    return str(summary["servable_check"]) if summary["blessed"] else "its evaluation did not pass, so it is not blessed"


def _check_users(data: Path, users: int) -> None:
    from model.errors import UserError

    found = json.loads((data / "dataset.json").read_text())["simulation"]["users"]
    if found != users:
        raise UserError(f"{data} holds {found} users, not {users}; choose another --run-dir or remove it")


def _rows(report: dict[str, Any], run_dir: Path) -> dict[str, str]:
    """The lines of the summary; where another model is served than was trained, each says whose figure it is."""
    test, oracle = report["test"], report["oracle"]
    served, version = report["served_version"], report["version"]
    trained_suffix = served_suffix = ""
    about = f"version {served}, the model of this run"
    if version is None:
        trained_suffix, served_suffix = ", new model (not served)", f", version {served}"
        about = f"version {served}, an earlier model; the new one was not pushed: {report['not_pushed_because']}"
    elif served != version:
        trained_suffix, served_suffix = f", version {version} (not served)", f", version {served}"
        about = f"version {served}, published after version {version}, the model of this run"
    hit_at_100, coverage = report["hit_at_100"], report["table_coverage"]
    what = f"{report['candidates']} candidates, {report['history']:,} behaviours"
    return {
        "Model served": about,
        f"AUC on later events{trained_suffix}": f"{test['auc']:.4f}  (true probabilities: {oracle['auc']:.4f})",
        f"GAUC{trained_suffix}": f"{test['gauc']:.4f}  (true probabilities: {oracle['gauc']:.4f})",
        f"Search finds, of the real top 100{trained_suffix}": f"{hit_at_100:.1f}  (table as fresh as the weights)",
        f"Item table{trained_suffix}": f"{report['table_rows']:,} rows, {coverage:.1%} of lookups in training",
        f"Latency p50 by gRPC{served_suffix}": f"{report['grpc_p50_ms']:.1f} ms  ({what})",
        f"Latency p50 by REST{served_suffix}": f"{report['rest_p50_ms']:.1f} ms",
        "Time, peak memory of the pipeline": f"{report['seconds']:.0f} s in all, {report['peak_rss_gb']:.1f} GB",
        "Data, model, logs": f"{run_dir / 'data'}, {run_dir / 'servable'}, {run_dir / 'logs'}",
    }


def _show(console: Console, report: dict[str, Any], run_dir: Path) -> None:
    table = Table(title="What came out", title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(report, run_dir).items():
        table.add_row(name, value)
    console.print()
    console.print(table)
    console.print("\nNext:", style="bold")
    for command, purpose in {
        f"twin serve --model-dir {run_dir / 'servable'}": "serve it; then, beside it: twin predict",
        f"twin consistency --run-dir {run_dir}": "hit@k for more k, and for older tables",
        f"twin refresh --model-dir {run_dir / 'servable'} --catalog {run_dir / 'data'}": "the next version, untrained",
        "twin import --help": "your own logs",
    }.items():
        console.print(f"  {command}  [dim]{purpose}[/dim]", highlight=False, soft_wrap=True)
