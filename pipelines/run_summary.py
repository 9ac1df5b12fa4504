"""Prints the summary of a pipeline run."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """Prints `summary.json`, one table per top-level group, values as they are named there."""
    single = {key: value for key, value in summary.items() if not isinstance(value, Mapping)}
    groups = {key: value for key, value in summary.items() if isinstance(value, Mapping)}
    for title, group in [("run", single), *groups.items()]:
        rows = list(flatten(group))
        if not rows:
            continue
        table = Table(title=title.replace("_", " "), title_justify="left", show_header=False, box=None, pad_edge=False)
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(name, format_value(value))
        console.print(table)


def flatten(group: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings as (dotted name, value)."""
    for key, value in group.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def format_value(value: Any) -> str:
    """A value as a person reads it: four digits after the point, thousands apart, `-` for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(format_value(part) for part in value)
    return str(value)
