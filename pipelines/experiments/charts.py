"""Bars and lines as SVG: pictures that live inside the report, sharp at any size."""

import html
import math
from collections.abc import Mapping, Sequence

_COLOURS = (
    "#c62f2f", "#2f62c9", "#2b8a4b", "#8a4bc6", "#d9680f", "#0f8fa3", "#a3760f", "#c62f8f",
    "#5b6b85", "#6aa32b", "#3f3fb5", "#b5573f", "#1f7a6d", "#7a1f5c", "#8f8f2f", "#444444",
)  # fmt: skip
_FONT = 'font-family="system-ui, sans-serif" font-size="13"'
_BAR, _LABEL, _PLOT, _VALUE = 24, 200, 480, 150


def bars(values: Sequence[tuple[str, float | None, float | None]], unit: str = "", digits: int = 4) -> str:
    """Horizontal bars with their standard deviation.

    The axis begins below the smallest value, not at 0, where all are close together: the numbers stand beside the bars.

    Args:
        values: Name, value and standard deviation; None where undefined.
        unit: Printed behind every value.
        digits: After the point.
    """
    known = [(value - (std or 0), value + (std or 0)) for _, value, std in values if value is not None]
    low, high = _bar_range(known)
    parts = []
    for at, (name, value, std) in enumerate(values):
        y = at * _BAR + 4
        parts.append(_text(_LABEL - 8, y + 13, name, "end"))
        if value is None:
            parts.append(_text(_LABEL + 4, y + 13, "–"))
            continue
        width = _PLOT * (value - low) / (high - low)
        parts.append(f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="16" fill="{_colour(at)}"/>')
        right = width
        if std is not None:
            left, right = (_PLOT * (value + sign * std - low) / (high - low) for sign in (-1, 1))
            parts.append(_line([(_LABEL + left, y + 8), (_LABEL + right, y + 8)], "#1c2330", 1.5))
        parts.append(_text(_LABEL + right + 6, y + 13, f"{value:,.{digits}f}{unit}"))
    height = _BAR * len(values) + 24
    parts.append(_text(_LABEL, height - 4, f"axis from {low:,.{digits}f}{unit}"))
    return _svg(_LABEL + _PLOT + _VALUE, height, parts)


def _bar_range(known: Sequence[tuple[float, float]]) -> tuple[float, float]:
    if not known:
        return 0.0, 1.0
    low, high = min(value for value, _ in known), max(value for _, value in known)
    # Far apart, bars are compared by length, which needs the zero.
    start = 0.0 if low < 0.6 * high else low - 0.15 * ((high - low) or abs(high) or 1.0)
    return start, high if high > start else start + 1.0


def lines(
    series: Mapping[str, Sequence[tuple[float, float | None]]],
    x_name: str,
    y_name: str,
    y_range: tuple[float, float] | None = None,
    logarithmic: bool = True,
) -> str:
    """Lines over a common axis, with a legend.

    Args:
        series: Name to points.
        x_name, y_name: What the axes are.
        y_range: Of the vertical axis; None fits it to the points.
        logarithmic: Whether the horizontal axis is.
    """
    points = [(x, y) for line in series.values() for x, y in line if y is not None]
    if not points:
        return _svg(400, 30, [_text(4, 20, "nothing to show")])
    left, top, width, height = 70, 24, 520, 330

    def place(x: float) -> float:
        return math.log10(max(x, 1e-9)) if logarithmic else x

    xs = [place(x) for x, _ in points]
    ys = y_range or [y for _, y in points]
    x_low, x_span = min(xs), (max(xs) - min(xs)) or 1.0
    y_low, y_span = min(ys), (max(ys) - min(ys)) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        return left + width * (place(x) - x_low) / x_span, top + height * (1 - (y - y_low) / y_span)

    parts = [f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#b9c1d0"/>']
    for tick in range(5):
        y = y_low + y_span * tick / 4
        parts.append(_text(left - 6, at(points[0][0], y)[1] + 4, f"{y:.4g}", "end"))
    for x in sorted({x for x, _ in points}):
        parts.append(_text(at(x, y_low)[0], top + height + 18, f"{x:,g}", "middle"))
    parts.append(_text(left + width / 2, top + height + 38, x_name, "middle"))
    parts.append(_text(left, 10, y_name))
    for index, (name, line) in enumerate(series.items()):
        drawn = [at(x, y) for x, y in line if y is not None]
        dash = "5 4" if index >= len(_COLOURS) // 2 else ""
        parts.append(_line(drawn, _colour(index), 2, dash))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_colour(index)}"/>' for x, y in drawn]
        parts.append(_line([(left + width + 16, 22 + 20 * index), (left + width + 40, 22 + 20 * index)],
                           _colour(index), 2, dash))  # fmt: skip
        parts.append(_text(left + width + 46, 26 + 20 * index, name))
    return _svg(left + width + 230, max(top + height + 46, 30 + 20 * len(series)), parts)


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _line(points: Sequence[tuple[float, float]], colour: str, width: float, dash: str = "") -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    style = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{style}/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#1c2330">{html.escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'{_FONT} role="img" style="background:#fff">{"".join(parts)}</svg>'
    )
