"""`twin soak`."""

from pathlib import Path
from typing import Annotated

import typer


def soak(
    only: Annotated[
        str, typer.Option(help="Some of swap,overload,deadline,sigterm,kill,fuzz, with commas; default: all.")
    ] = "",
    model_dir: Annotated[
        Path | None,
        typer.Option(
            help="Serve the newest version below this directory, which must carry recorded requests, in swap, "
            "overload, kill and fuzz; default: a small model made for the purpose.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long versions are swapped.")] = 300.0,
    swap_every: Annotated[float, typer.Option(min=0.5, help="Seconds from one version to the next.")] = 5.0,
    clients: Annotated[int, typer.Option(min=1, help="Clients that ask while versions are swapped.")] = 8,
    overload_seconds: Annotated[float, typer.Option(min=1, help="How long ten times too much is asked.")] = 60.0,
    fuzz_requests: Annotated[int, typer.Option(min=10, help="Wrong requests to send.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the wrong requests and of the small model.")] = 1,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Hold the embedded server to its promises under load and faults.

    **swap**: new versions every few seconds under load; each answers its number. **overload**: ten times the clients
    and requests it can serve. **deadline**: clients that stop waiting. **sigterm**: finishes what runs. **kill**:
    kill -9 and start again. **fuzz**: mutated gRPC messages and JSON documents.

    Times are compared within the run; on a machine that does something else they say little.

    Exit codes: 0 every promise kept, 1 one broken, 2 a mistake in the options.

    Example: `twin soak --only swap,overload --seconds 60 --model-dir runs/mine/servable`
    """
    import json
    import tempfile

    from rich.console import Console

    from serving.soak.report import as_json, show
    from serving.soak.runner import Plan, parse_names, run_scenarios
    from serving.soak.swap import Swaps

    plan = Plan(
        names=parse_names(only),
        model_dir=model_dir,
        swaps=Swaps(seconds, swap_every, clients),
        overload_s=overload_seconds,
        fuzz_requests=fuzz_requests,
        seed=seed,
    )
    console = Console(stderr=json_output)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="twin-soak-") as name, console.status("making a model") as status:

        def say(text: str, left_s: float) -> None:
            status.update(f"{text}; about {left_s:.0f} s left")

        for outcome in run_scenarios(plan, Path(name), say):
            show(outcome, console)
            outcomes.append(outcome)
    if json_output:
        print(json.dumps(as_json(outcomes)))
    if not all(outcome.passed for outcome in outcomes):
        raise typer.Exit(1)
