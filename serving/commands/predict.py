"""`twin predict`."""

from pathlib import Path
from typing import Annotated

import typer


def predict(
    request: Annotated[
        str | None,
        typer.Option(help="Request as columnar JSON, - = standard input; default: one recorded with the servable."),
    ] = None,
    warmup: Annotated[
        Path | None,
        typer.Option(help="Servable or model directory to take the recorded request from; default: the last run's."),
    ] = None,
    grpc: Annotated[str, typer.Option(help="host:port of the server's gRPC endpoint.")] = "127.0.0.1:8500",
    rest: Annotated[str | None, typer.Option(help="host:port of its REST endpoint; used instead of gRPC.")] = None,
    model: Annotated[str, typer.Option(help="Name of the model.")] = "twin",
    version: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Version to ask; default: the newest.")
    ] = None,
    signature: Annotated[str | None, typer.Option(help="Signature to run; default: serving_default.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Candidates to show.")] = 10,
    timeout: Annotated[float, typer.Option(min=0.001, max=86400, help="Deadline in seconds.")] = 10.0,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Ask a running model server, embedded or real TF Serving, to score the candidates of a request.

    A request file holds {"inputs": {"history/item_id": [[...]], "candidate/item_id": [[...]], ...}}.

    Example: twin predict --rest 127.0.0.1:8501 --request request.json
    """
    import json

    from rich.console import Console

    from serving.predict import as_json, show
    from serving.predict import predict as ask

    inputs, prediction = ask(
        address=grpc if rest is None else rest,
        over_rest=rest is not None,
        model=model,
        version=version,
        signature=signature,
        request=request,
        warmup=warmup,
        timeout_s=timeout,
    )
    if json_output:
        print(json.dumps(as_json(inputs, prediction, top)))
    else:
        show(inputs, prediction, top, Console())
