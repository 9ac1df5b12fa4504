"""An experiment's report: one HTML file that needs nothing beside it."""

import dataclasses
import html
import re
from collections.abc import Sequence
from typing import Any

_STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c2330 }
h1 { line-height: 1.2 } h2 { margin-top: 2.2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0 }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #d9dee7; text-align: right; vertical-align: top }
th { background: #f3f5f9; text-align: right } th:first-child, td:first-child { text-align: left }
.wide td { text-align: left } .wide th { text-align: left }
figure { margin: 1rem 0; overflow-x: auto } figcaption { color: #55607a; font-size: .92rem }
.verdict { background: #eef4ff; border-left: 5px solid #2f62c9; padding: .6rem 1rem }
.warning { background: #fff1e5; border-left: 5px solid #d9680f; padding: .6rem 1rem; font-weight: 600 }
code, pre { background: #f3f5f9; padding: .1rem .3rem } pre { padding: .6rem; overflow-x: auto; white-space: pre-wrap }
.scroll { overflow-x: auto }
"""


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under a header.

    Attributes:
        title: Above it.
        header: One per column.
        rows: Numbers or text; None prints as a dash.
        emphasis: Index of the row to print bold.
        prose: Whether the cells are text, aligned to the left.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    emphasis: int | None = None
    prose: bool = False


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture, as SVG, and what it shows."""

    title: str
    svg: str
    caption: str

    @property
    def file_name(self) -> str:
        """Of the picture alone: the title in lower case, words joined by dashes."""
        return "-".join(re.findall(r"[a-z0-9]+", self.title.lower())) + ".svg"


Block = Text | Table | Figure


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an experiment found.

    Attributes:
        verdicts: Sentences for the top of the report.
        warnings: Sentences that must be read first: where the claim does not hold.
        blocks: Text, tables and pictures in order.
        values: The same as JSON values.
        tuned: Whose learning rates were chosen within the budget.
        seeds: Those of its trainings, where `Study.train` did not make them.
    """

    verdicts: list[str]
    warnings: list[str]
    blocks: Sequence[Block]
    values: dict[str, Any]
    tuned: str = "every model"
    seeds: Sequence[int] = ()


def render(heading: str, outcome: Outcome, record: Sequence[tuple[str, str]]) -> str:
    """The report as HTML.

    Args:
        heading: Title.
        outcome: What was found.
        record: How it was made, as pairs of name and text.
    """
    parts = [f"<h1>{_escape(heading)}</h1>"]
    parts += [f'<p class="warning">{_escape(text)}</p>' for text in outcome.warnings]
    parts += [f'<p class="verdict">{_escape(text)}</p>' for text in outcome.verdicts]
    parts += [_block(block) for block in outcome.blocks]
    rows = "".join(f"<tr><td>{_escape(name)}</td><td><pre>{_escape(text)}</pre></td></tr>" for name, text in record)
    parts.append(f'<h2>How this was made</h2><div class="scroll"><table class="wide">{rows}</table></div>')
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_escape(heading)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def number(value: Any, digits: int = 4) -> str:
    """A value as a person reads it."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def p_value(p: float | None) -> str:
    """A p with two digits that count, however small it is."""
    return number(p) if p is None else f"{p:.2g}"


def plus_minus(mean: float | None, std: float | None, digits: int = 4) -> str:
    """Mean and standard deviation."""
    return number(mean, digits) if std is None else f"{number(mean, digits)} ± {std:.{digits}f}"


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"<p>{_escape(block.text)}</p>"
    if isinstance(block, Figure):
        caption = f"<figcaption>{_escape(block.caption)}</figcaption>"
        return f"<h2>{_escape(block.title)}</h2><figure>{block.svg}{caption}</figure>"
    head = "".join(f"<th>{_escape(name)}</th>" for name in block.header)
    rows = "".join(_row(row, at == block.emphasis) for at, row in enumerate(block.rows))
    kind = ' class="wide"' if block.prose else ""
    return (
        f'<h2>{_escape(block.title)}</h2><div class="scroll"><table{kind}>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(row: Sequence[Any], bold: bool) -> str:
    around = ("<b>", "</b>") if bold else ("", "")
    return "<tr>" + "".join(f"<td>{around[0]}{_escape(number(v))}{around[1]}</td>" for v in row) + "</tr>"


def _escape(text: str) -> str:
    return html.escape(text)
