"""What a run found, for people and for programs."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving.conformance.runner import Outcome


def show(outcome: Outcome, console: Console) -> None:
    """Prints a table of the sections, why cases were skipped, and each failure in full."""
    table = Table("section", "cases", "failed", "skipped", title="Conformance with TensorFlow Serving")
    for column in table.columns[1:]:
        column.justify = "right"
    for section, (cases, failed, skipped) in outcome.sections.items():
        table.add_row(section, str(cases), f"[red]{failed}[/]" if failed else "0", str(skipped))
    table.add_section()
    table.add_row("all", str(outcome.cases), str(len(outcome.failures)), str(len(outcome.skips)))
    console.print(table)
    for reason, count in Counter(outcome.skips.values()).items():
        console.print(f"skipped {count}: each {escape(reason)}")
    for failure in outcome.failures:
        console.print(f"\n[red]FAILED[/] {escape(failure.title)}", highlight=False)
        for label, text in (
            ("reference", failure.section),
            ("sent", failure.sent),
            ("expected", failure.expected),
            ("received", failure.received),
        ):
            indented = text.replace("\n", "\n" + 12 * " ")
            console.print(f"  {label:<10}{escape(indented)}", highlight=False)
    passed = outcome.cases - len(outcome.failures) - len(outcome.skips)
    console.print(
        f"\n{passed} of {outcome.cases} cases passed, {len(outcome.failures)} failed, {len(outcome.skips)} skipped, "
        f"in {outcome.seconds:.0f} s"
    )


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as one JSON object."""
    return {
        "cases": outcome.cases,
        "failed": len(outcome.failures),
        "skipped": len(outcome.skips),
        "duration_s": round(outcome.seconds, 1),
        "failures": [asdict(failure) for failure in outcome.failures],
        "skips": [{"title": title, "reason": reason} for title, reason in outcome.skips.items()],
    }
