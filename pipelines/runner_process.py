"""Runs the TFX pipeline in a child process: chatter to a log, progress on screen, its end told in plain words."""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from model.errors import UserError
from pipelines.progress_display import Display, ProgressReader, make_display

POLL_S = 0.2
_GRACE_S = 10.0
_START = "Starting TFX"
"""Shown as a step, since importing TFX alone takes half a minute."""
_ERROR_LINE = re.compile(r"^\s*(?:[\w.]+\.)?\w*(?:Error|Exception|Refused|Failure)\b.*:")


class PipelineInputError(UserError):
    """The pipeline stopped over something the user can mend; the message is the pipeline's own."""


class PipelineError(Exception):
    """The pipeline stopped; the message holds the last error lines and the log's path."""


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """What one run of the pipeline works on.

    Attributes:
        run_dir: Where everything of the run goes.
        data: Folder with the raw tables.
        schema: Schema folder, or the name of one under `schemas/`.
        config: YAML file with the model's configuration, or None for the defaults.
        beam_args: Beam's own flags, passed on as they are.
        model: The model to train, in place of the configuration's `interest`.
    """

    run_dir: Path
    data: Path
    schema: str
    config: Path | None = None
    beam_args: tuple[str, ...] = ()
    model: str | None = None

    @property
    def log(self) -> Path:
        """Where TFX's and TensorFlow's chatter goes."""
        return self.run_dir / "logs" / "tfx.log"

    def command(self) -> list[str]:
        """The child's command line."""
        child = [sys.executable, "-m", "pipelines.tfx.local_runner", "--run-dir", str(self.run_dir)]
        child += ["--data", str(self.data), "--schema", self.schema]
        if self.config is not None:
            child += ["--config", str(self.config)]
        if self.model is not None:
            child += ["--model", self.model]
        return [*child, "--", *self.beam_args] if self.beam_args else child


def run_pipeline(request: RunRequest, console: Console) -> dict[str, Any]:
    """Runs the pipeline to its end and shows its progress.

    Interrupted (Ctrl-C or SIGTERM), it stops the child and all its children; steps that had finished stay in the
    run's metadata, so the same command continues after them.

    Returns:
        The content of `summary.json`.

    Raises:
        PipelineInputError: When the pipeline names something the user can mend, or the run directory is in use.
        PipelineError: When it fails otherwise.
    """
    request.log.parent.mkdir(parents=True, exist_ok=True)
    progress = request.run_dir / "progress.jsonl"
    summary = request.run_dir / "summary.json"
    with _only_user_of(request.run_dir), request.log.open("wb") as log:
        progress.unlink(missing_ok=True)
        summary.unlink(missing_ok=True)
        with make_display(console) as display:
            code, failure = _follow(request.command(), log, ProgressReader(progress), display)
    if failure is not None and failure.get("user_error"):
        raise PipelineInputError(str(failure.get("message")))
    if code == 2:  # a mistake found before the first step
        raise PipelineInputError("\n".join(last_error_lines(request.log)))
    if code != 0:
        raise PipelineError(_explain(code, failure, request.log))
    try:
        loaded = json.loads(summary.read_text())
    except (OSError, ValueError) as error:
        raise PipelineError(f"the pipeline ended well but left no readable {summary}: {error}") from None
    return dict(loaded)


@contextlib.contextmanager
def _only_user_of(run_dir: Path) -> Iterator[None]:
    with (run_dir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PipelineInputError(
                f"{run_dir} is in use by another run; wait for it or choose another --run-dir"
            ) from None
        yield


def _follow(
    command: Sequence[str], log: IO[bytes], reader: ProgressReader, display: Display
) -> tuple[int, dict[str, Any] | None]:
    """Runs `command` to its end; returns its exit code and its first `failed` event."""
    # A session of its own, so that Ctrl-C reaches the child through us alone and its children end with it.
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    failure: dict[str, Any] | None = None
    with _sigterm_as_interrupt():
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment)
        try:
            display.show({"component": _START, "event": "started"})
            starting = True
            while True:
                code = child.poll()
                for event in reader.read():
                    if starting:
                        display.show({"component": _START, "event": "finished"})
                        starting = False
                    display.show(event)
                    if event["event"] == "failed" and failure is None:
                        failure = event
                if code is not None:
                    return code, failure
                time.sleep(POLL_S)
        finally:
            stop_group(child)


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def stop_group(child: "subprocess.Popen[bytes]") -> None:
    """Ends a child started in a session of its own, and whatever it started: asks, then insists."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _explain(code: int, failure: dict[str, Any] | None, log: Path) -> str:
    where = f"in {failure['component']}" if failure is not None else "before its end"
    if code == -signal.SIGKILL:
        what = "killed by signal 9, most often for want of memory: close other programs or lower the batch size"
    elif failure is not None and failure.get("message"):
        what = str(failure["message"])
    else:
        what = "\n".join(last_error_lines(log)) or f"exit code {code} and nothing in the log"
    return f"the pipeline stopped {where}: {what}\nThe whole log: {log}"


def last_error_lines(log: Path, tail_bytes: int = 200_000) -> list[str]:
    """The last line of a log that names an error, or, where none does, its last three lines."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - tail_bytes))
        lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR_LINE.match(line)]
    return errors[-1:] or lines[-3:]
