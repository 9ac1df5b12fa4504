"""`twin conformance`."""

from pathlib import Path
from typing import Annotated

import typer


def conformance(
    grpc: Annotated[str | None, typer.Option(help="host:port of a running server's gRPC endpoint.")] = None,
    rest: Annotated[str | None, typer.Option(help="host:port of its REST endpoint.")] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Directory that --make-models wrote and that server serves; cases will change it."),
    ] = None,
    make_models: Annotated[
        Path | None,
        typer.Option(help="Only write the fixture models into this new directory, and print how to go on."),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(help="Start this program, which has tensorflow_model_server's flags; default: the embedded one."),
    ] = None,
    only: Annotated[str, typer.Option(help="Run only cases with this text in their section, file or title.")] = "",
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Hold a model server against TensorFlow Serving: requests, life-cycle, batching, metrics, start and TLS.

    Without addresses a server is started on models made for it, and every case runs. With addresses the server must
    serve the models of --make-models; cases that change its files need --models, those that need other flags are
    skipped.

    Exit codes: 0 nothing failed, 1 some cases failed, 2 a mistake in the options.

    Example: twin conformance --server tensorflow_model_server
    """
    import json

    from rich.console import Console

    from serving.conformance.report import as_json, show
    from serving.conformance.runner import cases
    from serving.conformance.suite import ChoiceError, on_running_server, on_started_server, write_models

    if make_models is not None:
        print(write_models(make_models))
        return
    given = grpc is not None or rest is not None
    if given and server is not None:
        raise ChoiceError("--server starts a server, --grpc and --rest name one that runs; give one or the other")
    if models is not None and not given:
        raise ChoiceError("--models belongs to a running server; give its --grpc and --rest too")
    chosen = cases(only)
    if not chosen:
        raise ChoiceError(f"no case has {only!r} in its section, file or title")
    console = Console(stderr=json_output)
    with console.status("starting") as status:

        def on_case(case: object) -> None:
            status.update(str(getattr(case, "title", "")))

        if given:
            outcome = on_running_server(grpc, rest, models, chosen, on_case)
        else:
            outcome = on_started_server(server, chosen, on_case)
    show(outcome, console)
    if json_output:
        print(json.dumps(as_json(outcome)))
    if outcome.failures:
        raise typer.Exit(1)
