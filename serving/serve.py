"""Starts the real TF Serving where it is installed, else the embedded server."""

import logging
import os
import random
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path

from model.errors import UserError
from serving.publisher import latest_version

_REAL = "tensorflow_model_server"


class ServeError(UserError):
    """A model that cannot be served."""


def check_model_dir(model_dir: Path) -> None:
    """Tells a model directory from one of its versions, in which a server would wait for ever.

    Args:
        model_dir: Directory of the numbered versions; may be missing or empty.

    Raises:
        ServeError: It holds no version but a SavedModel itself, or cannot be read.
    """
    try:
        latest = latest_version(model_dir)
    except OSError as error:
        raise ServeError(f"{model_dir} cannot be read: {error.strerror}") from None
    if latest is None and (model_dir / "saved_model.pb").is_file():
        raise ServeError(
            f"{model_dir} is one version (it holds saved_model.pb), not a model directory; give the directory that "
            f"holds the numbered versions: {model_dir.resolve().parent}"
        )


def serve(
    model_dir: Path,
    model_name: str,
    port: int,
    rest_port: int,
    host: str,
    poll_seconds: float,
    embedded: bool,
    max_request_bytes: int,
) -> None:
    """Serves until SIGTERM or SIGINT.

    A version that fails to load is not tried again (versions appear whole, so another attempt meets the same files);
    the version before it keeps serving and the next one is loaded.

    Args:
        model_dir: Directory of the numbered versions; may still be empty.
        model_name: Name by which clients ask for the model.
        port: gRPC port, 0 = any free one.
        rest_port: REST port, 0 = any free one.
        host: Address the embedded server listens on; the real one has no such flag for REST.
        poll_seconds: Time between two looks for new versions.
        embedded: Use the embedded server in any case.
        max_request_bytes: Longest request the embedded server takes; the real one takes 2 GiB.

    Raises:
        ServeError: The directory is missing or itself a version, the name is empty, or the model does not load.
        AddressInUseError: A port is taken.
    """
    if not model_dir.is_dir():
        raise ServeError(f"{model_dir} is no directory; expected one that holds numbered versions (1/, 2/, ...)")
    check_model_dir(model_dir)
    if not model_name:
        raise ServeError("the model's name must not be empty: requests name the model they ask")
    real = None if embedded else shutil.which(_REAL)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if latest_version(model_dir) is None:
        _say(f"{model_dir} holds no version (1/, 2/, ...) yet; waiting for the first one")
    if real is not None:
        _serve_real(real, model_dir, model_name, port or free_port(), rest_port or free_port(), poll_seconds)
    else:
        _serve_embedded(model_dir, model_name, port, rest_port, host, poll_seconds, max_request_bytes)


def _serve_real(program: str, model_dir: Path, model_name: str, port: int, rest_port: int, poll_seconds: float) -> None:
    # On every address, as the real server always listens with REST.
    _say(f"server: {program}")
    _announce(model_name, "127.0.0.1", port, rest_port)
    flags = {
        "port": port,
        "rest_api_port": rest_port,
        "model_name": model_name,
        "model_base_path": model_dir.resolve(),
        "file_system_poll_wait_seconds": max(1, round(poll_seconds)),
        "max_num_load_retries": 0,
    }
    os.execv(program, [program, *(f"--{name}={value}" for name, value in flags.items())])


def _serve_embedded(
    model_dir: Path,
    model_name: str,
    port: int,
    rest_port: int,
    host: str,
    poll_seconds: float,
    max_request_bytes: int,
) -> None:
    from serving.server.model_server import ModelServer
    from serving.server.options import ServerOptions, single_model
    from serving.server.run import run_until_stopped
    from serving.server.serving_error import ServingError

    options = ServerOptions(
        models=(single_model(model_name, str(model_dir.resolve())),),
        host=host,
        grpc_port=port,
        rest_port=rest_port,
        poll_wait_s=poll_seconds,
        max_load_retries=0,
        max_request_bytes=max_request_bytes,
    )

    def announce(server: ModelServer) -> None:
        _say(f"server: embedded ({_REAL} is not on PATH)" if shutil.which(_REAL) is None else "server: embedded")
        _announce(model_name, host, server.grpc_port, server.rest_port)

    try:
        run_until_stopped(options, announce)
    except ServingError as error:
        raise ServeError(f"{model_dir} cannot be served: {error}") from None
    _say("stopped")


def _announce(model_name: str, host: str, port: int | None, rest_port: int | None) -> None:
    name = f"[{host}]" if ":" in host else host
    _say(f"gRPC: {name}:{port}")
    _say(f"REST: http://{name}:{rest_port}")
    _say(f"try:  curl http://{name}:{rest_port}/v1/models/{model_name}")


def free_port() -> int:
    """A port of the loopback address that nothing listens on.

    It is below those that the system gives to outgoing connections, any of which may be taken a moment later.
    """
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _say(line: str) -> None:
    print(line, flush=True)
