"""Shows what the scenarios found."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving.soak.outcome import Outcome


def show(outcome: Outcome, console: Console) -> None:
    """Prints figures and promises of one scenario."""
    table = Table(title=outcome.scenario, title_justify="left", show_header=False, box=None, padding=(0, 2))
    for name, value in outcome.figures.items():
        table.add_row(name.replace("_", " "), escape(str(value)), "", "")
    for check in outcome.checks:
        verdict = "[green]kept[/]" if check.passed else "[red]BROKEN[/]"
        table.add_row(check.promise, escape(str(check.value)), escape(check.limit), verdict)
    console.print(table)
    console.print()


def as_json(outcomes: list[Outcome]) -> dict[str, Any]:
    """All outcomes as one JSON object."""
    return {
        "passed": all(outcome.passed for outcome in outcomes),
        "scenarios": {
            outcome.scenario: {
                "passed": outcome.passed,
                **outcome.figures,
                "checks": [
                    {"promise": one.promise, "value": one.value, "limit": one.limit, "passed": one.passed}
                    for one in outcome.checks
                ],
            }
            for outcome in outcomes
        },
    }
