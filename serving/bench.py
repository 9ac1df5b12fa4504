"""Measures a model server: latency beside a rival model in the same run, and throughput by number of clients."""

import contextlib
import dataclasses
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from tensorflow_serving.apis import predict_pb2

from model.errors import UserError
from serving.client import Client
from serving.serve import free_port
from serving.server.predictor import predict_message
from serving.server.servable import Servable
from serving.tensors import encode

_WARM_UP = 5
_START_S = 300.0
_READY = "Running gRPC ModelServer"


class BenchError(UserError):
    """A server that did not start, or answers that differ."""


@dataclasses.dataclass(frozen=True)
class Latency:
    """Milliseconds of requests sent one after another by one client."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        address: `host:port` of gRPC.
        process: Its process.
        load_s: Time from its start until it answered.
    """

    address: str
    process: psutil.Process
    load_s: float


@contextlib.contextmanager
def running_server(models: Mapping[str, Path], folder: Path, flags: tuple[str, ...] = ()) -> Iterator[Server]:
    """Starts the embedded server in a process of its own, and ends it after.

    Args:
        models: Model name to its directory of versions.
        folder: Scratch directory for the configuration and the log.
        flags: Further flags of `serving.server.main`.

    Raises:
        BenchError: It ended, or did not answer in time.
    """
    config = folder / "models.config"
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{path.resolve()}" model_platform: "tensorflow" }}\n'
        for name, path in models.items()
    )
    config.write_text(f"model_config_list {{\n{entries}}}\n")
    port = free_port()
    command = [sys.executable, "-m", "serving.server.main", f"--port={port}", f"--model_config_file={config}", *flags]
    log = folder / "server.log"
    start = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(command, stderr=stream, cwd=Path(__file__).parents[1], env=os.environ)
    try:
        _wait_until_ready(process, log)
        yield Server(f"127.0.0.1:{port}", psutil.Process(process.pid), time.perf_counter() - start)
    finally:
        process.terminate()
        process.wait()


def latencies(
    address: str, models: tuple[str, ...], request: Mapping[str, np.ndarray], repeats: int
) -> dict[str, Latency]:
    """Asks the models in turn, so that all meet the same machine.

    Raises:
        BenchError: The models' scores differ by more than 1e-5.
    """
    times: dict[str, list[float]] = {model: [] for model in models}
    with Client(grpc=address, timeout_s=120) as client:
        answers = {}
        for model in models:
            for _ in range(_WARM_UP):
                answers[model] = client.predict(request, model=model).outputs["pctr"]
        _check_equal(answers)
        for _ in range(repeats):
            for model in models:
                times[model].append(client.predict(request, model=model).ms)
    return {model: _latency(values) for model, values in times.items()}


def in_process_ms(servable: Path, request: Mapping[str, np.ndarray], repeats: int) -> float:
    """Median ms of the same answer without a network: serialised request in, serialised answer out."""
    loaded = Servable(servable)
    message = predict_pb2.PredictRequest()
    times = []
    for repeat in range(_WARM_UP + repeats):
        start = time.perf_counter()
        message.Clear()
        for name, value in request.items():
            message.inputs[name].CopyFrom(encode(value))
        received = predict_pb2.PredictRequest.FromString(message.SerializeToString())
        answer = predict_message(loaded, received)
        predict_pb2.PredictResponse.FromString(answer.SerializeToString())
        if repeat >= _WARM_UP:
            times.append(time.perf_counter() - start)
    loaded.close()
    return statistics.median(times) * 1e3


def throughput(address: str, model: str, request: Mapping[str, np.ndarray], clients: int, seconds: float) -> float:
    """Requests per second of `clients` that ask as fast as they are answered."""
    ends_at = time.perf_counter() + seconds
    counts = [0] * clients

    def ask(number: int) -> None:
        with Client(grpc=address, timeout_s=120) as client:
            while time.perf_counter() < ends_at:
                client.predict(request, model=model)
                counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def request_kb(request: Mapping[str, np.ndarray]) -> float:
    """Size of the gRPC message, 10^3 bytes."""
    message = predict_pb2.PredictRequest()
    for name, value in request.items():
        message.inputs[name].CopyFrom(encode(value))
    return message.ByteSize() / 1e3


def _wait_until_ready(process: subprocess.Popen[Any], log: Path) -> None:
    ends_at = time.monotonic() + _START_S
    while time.monotonic() < ends_at and process.poll() is None:
        if _READY in log.read_text():
            return
        time.sleep(0.05)
    raise BenchError(f"the server did not start: {log.read_text()[-500:]}")


def _check_equal(answers: Mapping[str, np.ndarray]) -> None:
    first, *others = answers.items()
    for name, values in others:
        difference = float(np.abs(values - first[1]).max())
        if not difference <= 1e-5:
            raise BenchError(f"scores of {name!r} differ from those of {first[0]!r} by up to {difference}")


def _latency(times: list[float]) -> Latency:
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    return Latency(float(p50), float(p95), float(p99))
