"""The `twin` command line. Each command lives in a file of its own, imported only when it is called or explained."""

import importlib
import logging
import os
import sys
import traceback
import warnings
from typing import Any, ClassVar

# TensorFlow reads both at its first import; children inherit them.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # 2 lets through what a machine without a GPU is told

import typer
from typer.core import TyperGroup

from model.errors import UserError

COMMANDS: dict[str, str] = {
    "demo": "pipelines.commands.demo:demo",
    "doctor": "pipelines.commands.doctor:doctor",
    "simulate": "pipelines.commands.simulate:simulate",
    "import": "pipelines.commands.import_data:import_data",
    "run": "pipelines.commands.run:run",
    "refresh": "pipelines.commands.refresh:refresh",
    "cluster": "pipelines.commands.cluster:cluster",
    "serve": "serving.commands.serve:serve",
    "predict": "serving.commands.predict:predict",
    "conformance": "serving.commands.conformance:conformance",
    "soak": "serving.commands.soak:soak",
    "consistency": "pipelines.commands.consistency:consistency",
    "experiment": "pipelines.commands.experiment:experiment",
    "bench": "twin:bench",
}
BENCH_COMMANDS: dict[str, str] = {
    "preprocess": "pipelines.commands.bench_preprocess:bench_preprocess",
    "training": "pipelines.commands.bench_training:bench_training",
    "refresh": "pipelines.commands.bench_refresh:bench_refresh",
    "serving": "pipelines.commands.bench_serving:bench_serving",
    "clustering": "pipelines.commands.bench_clustering:bench_clustering",
}


class _LazyGroup(TyperGroup):
    """A group that imports a command's file when the command is looked up, so that start-up costs only what is used."""

    targets: ClassVar[dict[str, str]] = {}

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        # The names alone: enough for the list of commands and for "did you mean".
        names: dict[str, Any] = dict.fromkeys(self.targets)
        self.commands = names

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        if cmd_name not in self.targets:
            return None
        module, _, name = self.targets[cmd_name].partition(":")
        if name == "bench":
            return typer.main.get_command(bench)
        single = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        single.command(cmd_name)(getattr(importlib.import_module(module), name))
        return typer.main.get_command(single)


class _Twin(_LazyGroup):
    targets = COMMANDS


class _Bench(_LazyGroup):
    targets = BENCH_COMMANDS


_LOOK: dict[str, Any] = {"no_args_is_help": True, "add_completion": False, "rich_markup_mode": "markdown"}
app = typer.Typer(cls=_Twin, pretty_exceptions_enable=False, **_LOOK)
bench = typer.Typer(cls=_Bench, name="bench", **_LOOK)


@app.callback()
def _twin() -> None:
    """Click-through rates from life-long user histories: raw logs in, a served TWIN out.

    New here? **twin demo** does everything once on simulated logs. With your own logs: describe the columns
    in a schema folder, then **twin import** or tables laid out alike, **twin run**,
    **twin serve**, **twin predict**. **twin doctor** says what is wrong with this machine.
    """


@bench.callback()
def _bench() -> None:
    """Measure this machine's speed; every part takes --json."""


def main() -> None:
    """Runs the command line.

    Exit codes: 0 done, 1 a failure, 2 a mistake the user can mend (its message says how), 130 interrupted.
    """
    # Google's libraries announce the end of Python versions years ahead, on every start.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
    # Beam warns of a missing crcmod before it looks for google-crc32c, which is faster and there.
    logging.getLogger().addFilter(lambda record: "crcmod package not found" not in str(record.msg))
    try:
        app(prog_name="twin")
    except UserError as error:
        _fail(f"twin: {error}", 2)
    except ModuleNotFoundError as error:
        _fail(f"twin: {error}; `twin doctor` lists what is missing, `make env` installs everything", 1)
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        _fail(f"twin: unexpected failure: {message} (TWIN_TRACEBACK=1 shows where)", 1)


def _fail(message: str, code: int) -> None:
    if os.environ.get("TWIN_TRACEBACK") == "1":
        traceback.print_exc()
    print(message, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
