"""`twin serve`."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    model_dir: Annotated[
        Path | None,
        typer.Option(help="Directory of the numbered versions; default: the last run's.", show_default=False),
    ] = None,
    model_name: Annotated[str, typer.Option(help="Name by which clients ask for the model.")] = "twin",
    port: Annotated[int, typer.Option(min=0, max=65535, help="gRPC port; 0 = any free one, printed.")] = 8500,
    rest_port: Annotated[int, typer.Option(min=0, max=65535, help="REST port; 0 = any free one, printed.")] = 8501,
    host: Annotated[str, typer.Option(help="Address the embedded server listens on.")] = "127.0.0.1",
    poll_seconds: Annotated[
        float, typer.Option(min=0.05, max=86400, help="Time between two looks for new versions.")
    ] = 1.0,
    max_request_mb: Annotated[
        int, typer.Option(min=1, max=2047, help="Longest request the embedded server takes, in MiB.")
    ] = 256,
    embedded: Annotated[bool, typer.Option(help="Use the embedded server even where the real one is found.")] = False,
) -> None:
    """Serve a model over gRPC and REST, and swap in new versions as they are published.

    Uses tensorflow_model_server when it is on PATH, else the embedded server, which answers the same requests.
    Stops on SIGTERM or Ctrl-C after finishing what runs.

    Example: twin serve --model-dir runs/demo/servable
    """
    from serving.last_run import last_model_dir
    from serving.serve import serve as run

    run(
        model_dir=last_model_dir() if model_dir is None else model_dir,
        model_name=model_name,
        port=port,
        rest_port=rest_port,
        host=host,
        poll_seconds=poll_seconds,
        embedded=embedded,
        max_request_bytes=max_request_mb * 2**20,
    )
