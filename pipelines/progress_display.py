"""Shows a pipeline run that another process writes down in `progress.jsonl`."""

import json
import time
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

PLAIN_INTERVAL_S = 15.0
"""Without a terminal, a step reports how far it is at most this often."""


class ProgressReader:
    """Reads the events of a growing JSON-lines file, each once.

    Args:
        path: The file; it need not exist yet. A last line without its end is left for the next call.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """The events written since the last call."""
        try:
            if self._path.stat().st_size < self._offset:  # written anew
                self._offset = 0
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return []
        whole, newline, _ = text.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        events = (_parse(line) for line in whole.splitlines())
        return [event for event in events if event is not None]


def _parse(line: bytes) -> dict[str, Any] | None:
    # A line that is no event must not end a run that is going well.
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "component" in event and "event" in event else None


class Display(Protocol):
    """Shows events as they come; a context manager around the run."""

    def __enter__(self) -> "Display": ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, event: dict[str, Any]) -> None:
        """Shows one event of `progress.jsonl`."""
        ...


def make_display(console: Console) -> Display:
    """A live display on a terminal, plain lines elsewhere."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


class _TimeLeft(TimeRemainingColumn):
    """The time left, where there is one to tell."""

    def render(self, task: Task) -> Text:
        return Text("") if task.finished or not task.total else Text("left ", style="dim") + super().render(task)


class LiveDisplay:
    """One line per step: what runs, how far, how long, and the time left where the step knows its total."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.fields[mark]} {task.description:<20}", table_column=Column(no_wrap=True, min_width=22)),
            BarColumn(bar_width=6, table_column=Column(no_wrap=True, min_width=6)),
            TextColumn("{task.fields[count]:>11}", table_column=Column(no_wrap=True, min_width=11)),
            TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
            _TimeLeft(table_column=Column(no_wrap=True, min_width=12)),
            # Only the message gives way on a narrow terminal.
            TextColumn("[dim]{task.fields[message]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "LiveDisplay":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A spinner left turning would say that a step of an ended run still runs.
        for task in self._progress.tasks:
            if not task.finished:
                self._progress.stop_task(task.id)
        self._progress.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Starts, moves or ends the step's line."""
        name, kind, message = event["component"], event["event"], str(event.get("message") or "")
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=None, mark=" ", count="", message="")
        task = self._tasks[name]
        if kind == "progress":
            done, total = event.get("done"), event.get("total")
            count = "" if done is None else f"{done:,}" + (f"/{total:,}" if total else "")
            self._progress.update(task, completed=done or 0, total=total, count=count, message=message)
        elif kind in ("finished", "cached"):
            mark = "[green]✓[/green]"
            message = "already done" if kind == "cached" else message
            self._progress.update(task, completed=1, total=1, mark=mark, message=message)
        elif kind == "failed":
            self._progress.update(task, mark="[red]✗[/red]", message="failed")
            self._progress.stop_task(task)


class PlainDisplay:
    """One line per event, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self._started: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def __enter__(self) -> "PlainDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, event: dict[str, Any]) -> None:
        """Prints the event; of a step's progress only a line now and then."""
        name, kind, message = event["component"], event["event"], str(event.get("message") or "")
        now = time.monotonic()
        if kind == "started":
            self._started[name] = now
        elif kind == "progress":
            if now - self._last.get(name, self._started.get(name, now)) < PLAIN_INTERVAL_S:
                return
            self._last[name] = now
            message = f"{event.get('done')} of {event.get('total') or '?'} {message}{self._time_left(event, now)}"
        elif kind == "finished" and name in self._started:
            message = f"after {now - self._started[name]:.0f} s {message}"
        line = f"{now - self._start:6.0f} s  {name} {kind} {message}".rstrip()
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _time_left(self, event: dict[str, Any], now: float) -> str:
        done, total, started = event.get("done"), event.get("total"), self._started.get(event["component"])
        if not done or not total or started is None:
            return ""
        return f", about {(now - started) * (total - done) / done:.0f} s left"
