"""`twin doctor`: says what is wrong with this machine's set-up."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def doctor(
    run_root: Annotated[Path, typer.Option(help="The folder runs are to be written below.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Say what is wrong with this machine's set-up, and what to do about it.

    Looks at Python, the packages and their versions, Keras 2, memory, disk, cores, ports and TensorFlow Serving.
    Exits with 1 when something will not work, with 0 when all is well or only worth knowing.

    Example: `twin doctor`
    """
    import dataclasses

    from pipelines.machine_checks import check_machine

    console = Console(stderr=as_json)
    colours = {"ok": "green", "warning": "yellow", "problem": "red"}
    checks = []
    for check in check_machine(run_root):
        checks.append(check)
        colour = colours[check.status]
        console.print(f"[{colour}]{check.status:<8}[/{colour}] {check.name:<24}", end="")
        console.print(check.found, markup=False, highlight=False, soft_wrap=True)
        if check.advice:
            console.print(" " * 9 + check.advice, markup=False, highlight=False, soft_wrap=True)
    problems = sum(check.status == "problem" for check in checks)
    warnings = sum(check.status == "warning" for check in checks)
    console.print(f"{len(checks)} checks: {problems} problems, {warnings} warnings")
    if as_json:
        found = [dataclasses.asdict(check) for check in checks]
        print(json.dumps({"problems": problems, "warnings": warnings, "checks": found}))
    if problems:
        raise typer.Exit(1)
