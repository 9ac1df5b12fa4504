"""JSON values as text, character for character as TF Serving's writer (RapidJSON's PrettyWriter) prints them."""

from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

INDENT = 4
FLOAT_DIGITS, DOUBLE_DIGITS = 9, 17
_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
# Control characters as two hexadecimal digits in capitals, except those that have a letter of their own.
_ESCAPES = {code: f"\\u{code:04X}" for code in range(0x20)} | {
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    ord("\b"): "\\b",
    ord("\f"): "\\f",
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}
_LARGEST_FLOAT = 3.4028234e38
# Decimal point positions between which a double is printed without an exponent.
_PLAIN_BELOW, _PLAIN_ABOVE = -6, 21


def quote(text: str) -> str:
    """A string literal."""
    return f'"{text.translate(_ESCAPES)}"'


def decimal_texts(values: Array, max_digits: int) -> list[str]:
    """Prints floats: %g where that reads back as the same number, else with `max_digits`; whole numbers with ".0".

    Args:
        values: float32 or float64, any shape.
        max_digits: Digits that always read back: 9 or 17.

    Returns:
        The texts, in row-major order; NaN, Infinity and -Infinity as bare words.
    """
    flat = values.reshape(-1)
    numbers = flat.tolist()
    texts = [f"{number:g}" for number in numbers]
    with np.errstate(over="ignore"):
        short = np.array(texts, dtype=np.float64).astype(flat.dtype)
    for index in np.flatnonzero(short != flat).tolist():
        texts[index] = f"{numbers[index]:.{max_digits}g}"
    texts = [text if "." in text or "e" in text else text + ".0" for text in texts]
    for index in np.flatnonzero(~np.isfinite(flat)).tolist():
        texts[index] = _NON_FINITE[str(numbers[index])]
    return texts


def dump(value: Any) -> str:
    """A parsed JSON value as error messages print it: a number alone as outputs are, others indented by 4."""
    if _is_double(value):
        single = abs(value) <= _LARGEST_FLOAT
        array = np.array([value], np.float32 if single else np.float64)
        return decimal_texts(array, FLOAT_DIGITS if single else DOUBLE_DIGITS)[0]
    return _pretty(value, 0)


def _pretty(value: Any, depth: int) -> str:
    if isinstance(value, str):
        return quote(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return _double(float(value)) if _is_double(value) else str(value)
    if isinstance(value, dict):
        items = [f"{quote(name)}: {_pretty(item, depth + 1)}" for name, item in value.items()]
    else:
        items = [_pretty(item, depth + 1) for item in value]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    if not items:
        return begin + end
    pad = "\n" + " " * INDENT * (depth + 1)
    return f"{begin}{pad}{f',{pad}'.join(items)}{pad[:-INDENT]}{end}"


def _is_double(value: Any) -> bool:
    """Whether RapidJSON keeps a number as a double; it does so with integers beyond 64 bits too."""
    return isinstance(value, float) or (type(value) is int and not -(2**63) <= value < 2**64)


def _double(value: float) -> str:
    """The shortest digits that read back, with a decimal point or an exponent in RapidJSON's manner."""
    if not np.isfinite(value):
        return _NON_FINITE[str(value)]
    if value == 0:
        return str(value)
    sign, parts, scale = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(scale, int)
    digits = "".join(map(str, parts))
    point = len(digits) + scale
    if scale >= 0 and point <= _PLAIN_ABOVE:
        text = f"{digits}{'0' * scale}.0"
    elif 0 < point <= _PLAIN_ABOVE:
        text = f"{digits[:point]}.{digits[point:]}"
    elif _PLAIN_BELOW < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        text = f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1}"
    return "-" * sign + text
