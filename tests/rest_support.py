"""A server's REST API for tests, and what they say to it."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions, single_model

MODEL = "/v1/models/toy"
PREDICT = f"{MODEL}:predict"
INPUTS: dict[str, Any] = {"x": [[1.0, 2.0]], "history/length": [3]}


@contextmanager
def served_rest(model_dir: Path, **options: Any) -> Iterator[httpx.Client]:
    """Serves a model directory as "toy" over REST alone."""
    model = single_model("toy", str(model_dir))
    server = ModelServer(ServerOptions((model,), grpc_port=None, rest_port=0, **options))
    server.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}") as client:
        yield client
    server.stop()


def ask(rest: httpx.Client, body: Any, path: str = PREDICT) -> httpx.Response:
    """Posts a body, as it is or as JSON."""
    return rest.post(path, content=body if isinstance(body, (str, bytes)) else json.dumps(body))


def error(response: httpx.Response, status: int = 400) -> str:
    """The message of an error."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    return str(response.json()["error"])
