"""Starts servers: the embedded one, or a program with the flags of `tensorflow_model_server`."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import UserError
from serving.conformance.flags import KINDS
from serving.conformance.target import Target
from serving.serve import free_port

EMBEDDED = (sys.executable, "-m", "serving.server.main")
_ROOT = Path(__file__).resolve().parents[2]
_START_S = 120.0
_LOG_SHOWN = 2000


class LaunchError(UserError):
    """A server program that is missing or does not start."""


@dataclass
class Running:
    """A server this suite started.

    Attributes:
        process: It.
        grpc: Its gRPC address.
        rest: Its REST address.
        log: The file of its output.
        directory: Of its fixture models.
        started: `time.monotonic()` of its start.
    """

    process: subprocess.Popen[bytes]
    grpc: str
    rest: str
    log: Path
    directory: Path
    started: float = field(default_factory=time.monotonic)

    def target(self) -> Target:
        """The server as cases see it."""
        return Target(self.grpc, self.rest, self.directory, server=self)

    def answers(self) -> bool:
        """Whether REST is answered."""
        try:
            return Target(None, self.rest).get("/v1/models").status > 0
        except OSError:
            return False

    def output(self) -> str:
        """What the server wrote, the end of it."""
        return self.log.read_text(errors="replace")[-_LOG_SHOWN:]

    def stop(self) -> int:
        """Ends it by SIGTERM, by SIGKILL when that takes long; gives the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Launcher:
    """Starts servers of one program, one of each kind, and stops them at the end.

    Args:
        command: The program and what precedes its flags.
        folder: Where models, configuration and logs go, one folder for each kind.

    Raises:
        LaunchError: There is no such program.

    Example:
        >>> launcher = Launcher(EMBEDDED, Path("/tmp/conformance"))  # doctest: +SKIP
        >>> launcher.running("main").target()                        # doctest: +SKIP
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        if shutil.which(command[0]) is None:
            raise LaunchError(f"there is no program {command[0]!r}; --server takes a path or a name on PATH")
        self._command = list(command)
        self._folder = folder
        self._running: dict[str, Running] = {}

    def running(self, kind: str) -> Running:
        """The server of a kind (`flags.KINDS`), started and answering.

        Raises:
            LaunchError: It ended or did not answer in time.
        """
        server = self.begun(kind)
        self._wait_until_it_answers(server)
        return server

    def begun(self, kind: str) -> Running:
        """The server of a kind, started but perhaps not answering, or ended."""
        if kind not in self._running:
            self._running[kind] = self._start(kind)
        return self._running[kind]

    def _start(self, kind: str) -> Running:
        directory = self._folder / kind
        directory.mkdir(parents=True)
        flags = KINDS[kind](directory)
        grpc_port, rest_port = free_port(), free_port()
        log = self._folder / f"{kind}.log"
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1", "PYTHONPATH": str(_ROOT)}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*self._command, f"--port={grpc_port}", f"--rest_api_port={rest_port}", *flags],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        return Running(process, f"127.0.0.1:{grpc_port}", f"127.0.0.1:{rest_port}", log, directory)

    def close(self) -> None:
        """Stops every server."""
        for server in self._running.values():
            server.stop()
        self._running.clear()

    def _wait_until_it_answers(self, server: Running) -> None:
        end = time.monotonic() + _START_S
        while not server.answers():
            if server.process.poll() is not None:
                raise LaunchError(f"the server ended with {server.process.returncode} at its start:\n{server.output()}")
            if time.monotonic() > end:
                raise LaunchError(f"the server did not answer within {_START_S:.0f} s:\n{server.output()}")
            time.sleep(0.1)
