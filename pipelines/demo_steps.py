"""The steps of `twin demo` that are commands of their own, run as a user would run them."""

import contextlib
import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pipelines.runner_process import last_error_lines, stop_group

_START_S = 120.0


class StepError(Exception):
    """A step of the demo failed; the message says which, why, and where its output is."""


def twin_command(*arguments: str) -> list[str]:
    """The command line of one `twin` command in this interpreter."""
    return [sys.executable, "-m", "twin", *arguments]


def measure(console: Console, what: str, arguments: Sequence[str], log: Path) -> dict[str, Any]:
    """Runs a `twin` command that takes `--json` and says on one line how long it took.

    Args:
        console: Where the line goes.
        what: What the step does, for people.
        arguments: The command and its options, without `--json`.
        log: The file its other output is appended to.

    Returns:
        The JSON object of its last line.

    Raises:
        StepError: When it fails or its last line is no JSON object.
    """
    start = time.monotonic()
    with log.open("ab") as errors, console.status(what):
        command = twin_command(*arguments, "--json")
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, env=_environment(), check=False)
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    if done.returncode != 0:
        raise StepError(f"{what}: {' '.join(last_error_lines(log)) or 'no message'}; its output: {log}")
    try:
        report = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise StepError(f"{what}: expected a JSON object on the last line, got {lines[-1:]}") from None
    console.print(f"[green]✓[/green] {what} [dim]{time.monotonic() - start:.0f} s[/dim]", highlight=False)
    return dict(report)


@contextlib.contextmanager
def server(model_dir: Path, ports: tuple[int, int], log: Path) -> Iterator[None]:
    """A `twin serve` process that answers on `ports` (gRPC, REST) while the block runs.

    Raises:
        StepError: When it ends early or does not answer in time.
    """
    command = twin_command("serve", "--model-dir", str(model_dir))
    command += ["--port", str(ports[0]), "--rest-port", str(ports[1])]
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, env=_environment()
        )
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(ports[1]):
            if child.poll() is not None:
                raise StepError(f"twin serve ended: {' '.join(last_error_lines(log))}; its output: {log}")
            if time.monotonic() > deadline:
                raise StepError(f"twin serve did not answer within {_START_S:.0f} s; its output: {log}")
            time.sleep(0.2)
        yield
    finally:
        stop_group(child)


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a server answered to the servable's recorded request, over both protocols.

    Attributes:
        history: L of the request.
        pctr: float32 [B, N], over gRPC.
        largest_difference: Between the protocols' answers.
        grpc_p50_ms, rest_p50_ms: Median latency seen by the client, one request at a time.
    """

    history: int
    pctr: NDArray[np.float32]
    largest_difference: float
    grpc_p50_ms: float
    rest_p50_ms: float


def ask(model_dir: Path, ports: tuple[int, int], times: int) -> Answers:
    """Sends the recorded request `times` times over gRPC (the first port) and as often over REST (the second)."""
    from serving.client import Client
    from serving.predict import request_from_warmup

    signature, inputs = request_from_warmup(model_dir)
    scores, medians = [], []
    for client in (Client(grpc=f"127.0.0.1:{ports[0]}"), Client(rest=f"127.0.0.1:{ports[1]}")):
        with client:
            answers = [client.predict(inputs, signature) for _ in range(times)]
        scores.append(np.asarray(answers[-1].outputs["pctr"], np.float32))
        medians.append(statistics.median(answer.ms for answer in answers))
    history = inputs["history/item_id"].shape[1]
    difference = float(np.abs(scores[0] - scores[1]).max())
    return Answers(history, scores[0], difference, *medians)


def free_ports() -> tuple[int, int]:
    """Two loopback ports that nothing listens on."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _answers(rest_port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{rest_port}/v1/models/twin", timeout=5) as answer:
            return b'"AVAILABLE"' in answer.read()
    except (urllib.error.URLError, OSError):
        return False


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
