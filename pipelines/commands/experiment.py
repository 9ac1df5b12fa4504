"""`twin experiment`: the paper's tables and figures, on any data set."""

import json
import math
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_INTERVAL_S = 60.0
"""In a log, a training tells how far it is at most this often."""


def experiment(
    name: Annotated[
        str,
        typer.Argument(help="overall, rolling, consistency, length, ablation, case, efficiency or lives; see below."),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Data set folder. Left out: one is simulated in the --out folder.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of results. Experiments with the same folder share what they train.")
    ] = Path("runs/experiments"),
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings per model; significance needs 2. Default: the budget's.")
    ] = None,
    models: Annotated[str, typer.Option(help="Models to compare, separated by commas. Default: all.")] = "",
    budget: Annotated[str, typer.Option(help="quick (minutes, small models) or full (hours, the paper's sizes).")] = (
        "quick"
    ),
    rates: Annotated[
        str,
        typer.Option(help="Factors on both learning rates that every model tries, as 0.3,1,3. Default: the budget's."),
    ] = "",
    config: Annotated[
        Path | None, typer.Option(help="Configuration that all models share (YAML). Default: the schema folder's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON object on the last line.")] = False,
) -> None:
    """Compare TWIN with its rivals: same data, same CTR model, same tuning budget, one report.

    **overall**: AUC, GAUC and log loss of every model, with significance. **rolling**: the same for models that learn
    from each part of the test range once they are tested on it. **consistency**: how much of what attention
    would choose each search finds. **length**: quality by history length. **ablation**: TWIN without its parts.
    **case**: what each search retrieves for one target, and what attention weighs. **efficiency**: speed and memory.
    **lives**: TWIN-V2 on clustered whole lives, and what each part of it is worth.

    Every finished training is kept in OUT/cells, so the same command goes on after a crash, and another experiment
    in the same folder takes over what it needs. The report is OUT/NAME/report.html.

    Example: `twin experiment overall --data data/mine --out runs/mine --seeds 5 --budget full`
    """
    from pipelines.experiments.request import ExperimentRequest

    options: dict[str, Any] = {
        "data": data,
        "out": out,
        "seeds": seeds,
        "models": models,
        "budget": budget,
        "rates": rates,
        "config": config,
    }
    request = ExperimentRequest(name, **options, command=_command(name, options))

    from pipelines.experiments.runner import run_experiment

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    screen = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        if screen.is_terminal:
            with Progress(*columns, TextColumn("left:"), TimeRemainingColumn(), console=screen) as progress:
                result = run_experiment(request, _Bar(progress, name))
        else:
            result = run_experiment(request, _Lines(screen, name))
    except KeyboardInterrupt:
        screen.print(f"Stopped. Finished trainings are kept in {out / 'cells'}: the same command continues after them.")
        raise
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    for warning in result["warnings"]:
        console.print(warning, style="bold yellow", markup=False)
    for verdict in result["verdicts"]:
        console.print(verdict, markup=False)
    console.print(f"Report: {result['report']}")
    if as_json:
        print(json.dumps(result))


def _command(name: str, options: Mapping[str, Any]) -> str:
    given = [part for option, value in options.items() if value for part in (f"--{option}", str(value))]
    return shlex.join(["twin", "experiment", name, *given])


class _Bar:
    """Cells done of cells in all; a cell under way counts by its share."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task(f"{name}: preparing the data", total=None)
        self._total = self._done = 0

    def expect(self, cells: int) -> None:
        self._total += cells
        self._progress.update(self._task, total=self._total)

    def start(self, text: str) -> None:
        self._progress.update(self._task, description=text)

    def within(self, share: float, text: str) -> None:
        self._progress.update(self._task, description=text, completed=self._done + min(share, 0.99))

    def done(self) -> None:
        self._done += 1
        self._progress.update(self._task, completed=self._done)


class _Lines:
    """For logs: a line when a cell begins, now and then within it, and when it is done, with the time left."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._total = self._done = 0
        self._stage, self._share = time.monotonic(), 0.0
        self._say(f"{name}: preparing the data")

    def expect(self, cells: int) -> None:
        self._total += cells

    def start(self, text: str) -> None:
        self._started, self._text = time.monotonic(), text
        self._stage, self._share = self._started, 0.0
        if not self._done:
            self._begin = self._started
        self._say(f"{self._done + 1}/{self._total} {text}")

    def within(self, share: float, text: str) -> None:
        now = time.monotonic()
        if share < self._share:  # of what comes next within the cell, as the training after a pre-training
            self._stage = now
        elif share and now - self._said >= LINE_INTERVAL_S:
            left = (now - self._stage) * (1 - share) / share
            self._say(f"{text}: {share:.0%}, {_about(left)} of it")
        self._share = share

    def done(self) -> None:
        self._done += 1
        now = time.monotonic()
        left = (now - self._begin) / self._done * (self._total - self._done)
        about = f", {_about(left)}" if left > 0 else ""
        self._say(f"{self._done}/{self._total} done: {self._text} took {now - self._started:.0f} s{about}")

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        self._console.print(text, markup=False)


def _about(seconds: float) -> str:
    return f"about {math.ceil(seconds / 60)} min left"
