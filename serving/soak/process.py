"""The embedded server in a process of its own, for tests that end it in all ways."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from serving.bench import BenchError
from serving.serve import free_port
from serving.soak.model import NAME

GRPC_THREADS = 8
_ROOT = Path(__file__).resolve().parents[2]
_READY = "Exporting HTTP/REST API"
_START_S = 300.0
_LOG_SHOWN = 2000
_SAMPLE_S = 0.05


class ServerProcess:
    """Starts and ends servers of one model on the same two ports.

    Args:
        model_dir: Directory of the numbered versions.
        folder: Scratch directory for the log and for the server's temporary files.
        flags: Further flags of `serving.server.main`.
    """

    def __init__(self, model_dir: Path, folder: Path, flags: tuple[str, ...] = ()) -> None:
        self._log = folder / "server.log"
        self.temporary = folder / "temporary"
        self.temporary.mkdir(parents=True, exist_ok=True)
        port, rest_port = free_port(), free_port()
        self.grpc, self.rest = f"127.0.0.1:{port}", f"127.0.0.1:{rest_port}"
        self._command = [
            *(sys.executable, "-m", "serving.server.main"),
            *(f"--port={port}", f"--rest_api_port={rest_port}"),
            *(f"--model_name={NAME}", f"--model_base_path={model_dir.resolve()}"),
            *(f"--grpc_max_threads={GRPC_THREADS}", "--file_system_poll_wait_seconds=0.2"),
            *flags,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Starts a server; gives the seconds until it answers.

        Raises:
            BenchError: It ended, or did not answer in time.
        """
        began = time.monotonic()
        environment = {**os.environ, "TMPDIR": str(self.temporary), "PYTHONPATH": str(_ROOT)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stderr=log, stdout=log, cwd=_ROOT, env=environment)
        while _READY not in self._log.read_text(errors="replace"):
            if self._process.poll() is not None or time.monotonic() > began + _START_S:
                raise BenchError(f"the server did not start: {self.output()}")
            time.sleep(0.02)
        return time.monotonic() - began

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._running().send_signal(number)

    def wait(self, timeout_s: float = 60.0) -> int | None:
        """The exit code; None, it still runs after this time."""
        try:
            return self._running().wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def rss_mb(self) -> float:
        """Its memory, 10^6 bytes; 0 when it has ended."""
        try:
            return float(self.status().memory_info().rss / 1e6)
        except psutil.Error:
            return 0.0

    def status(self) -> psutil.Process:
        """What the system knows of it."""
        return psutil.Process(self._running().pid)

    def output(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-_LOG_SHOWN:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.alive():
            self.send(signal.SIGTERM)
            if self.wait() is None:
                self.send(signal.SIGKILL)
                self.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise BenchError("the server was not started")
        return self._process


class Sampler:
    """Reads a value all the time, on a thread of its own.

    Args:
        read: Gives the value.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._stop = threading.Event()
        self._samples: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def between(self, begin: float, end: float) -> list[float]:
        """The values read between two times of `time.perf_counter`; at least one."""
        return [value for at, value in list(self._samples) if begin <= at <= end] or [self._read()]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            self._samples.append((time.perf_counter(), self._read()))
