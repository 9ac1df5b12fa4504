"""Parses a request body exactly as TF Serving's JSON parser (RapidJSON with NaN and Inf) accepts it.

Python's own parser does the work; what the two may see differently goes to the slow parser here, which follows
RapidJSON character by character and so also knows its error texts and offsets.
"""

import json
import re
from typing import Any, NoReturn

from serving.server.serving_error import ServingError, invalid

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# Every surrogate escape is one of a pair.
_PAIRED = re.compile(rb"(?:[^\\]++|\\[^u]|\\u[^dD]|\\u[dD][0-7]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F])*+")
# Exponents that could exceed a double. Each begins with one literal byte: a search for either of two would be ten times
# slower.
_EXPONENTS = (re.compile(rb"e\+?\d{3}"), re.compile(rb"E\+?\d{3}"))
# Digits that could exceed a double, with an exponent of two digits.
_LONG = 200
_SURELY_DOUBLE = 300
_LONG_NUMBER = re.compile(rb"\d{200}")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)")
_NON_FINITE = re.compile(r"-?(NaN|Infinity|Inf(?!i))")
_SPACE = " \t\r\n"
# RapidJSON takes a zero byte for the end of the document.
_END = ("", "\0")
_MARK = b"\xef\xbb\xbf"
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def parse_json(body: bytes) -> Any:
    """Parses JSON; bytes that are not UTF-8 stay in strings as surrogate escapes.

    Args:
        body: The request body; a UTF-8 byte order mark is skipped.

    Returns:
        The value, as `json.loads` gives it.

    Raises:
        ServingError: INVALID_ARGUMENT "JSON Parse error: <text> at offset: <n>".
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    mark = len(_MARK) if body.startswith(_MARK) else 0
    text = body[mark:].decode("utf-8", "surrogateescape")
    try:
        if _SURROGATE.search(body) is None or _PAIRED.fullmatch(body):
            numbers: dict[str, Any] = {"parse_float": _finite, "parse_int": _short} if _may_exceed(body) else {}
            try:
                return json.loads(text, object_pairs_hook=_first_of_equal, **numbers)
            except ValueError:
                pass
        return _SlowParser(text, mark).parse()
    except RecursionError:
        raise invalid("JSON Parse error: the lists are nested too deeply") from None


def _first_of_equal(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of equal names RapidJSON finds the first."""
    out = dict(pairs)
    return out if len(out) == len(pairs) else dict(reversed(pairs))


def _finite(token: str) -> float:
    """A number, unless it exceeds a double; where that is not to be feared, json's own function is faster."""
    value = float(token)
    if value in (float("inf"), float("-inf")):
        raise ValueError
    return value


def _short(token: str) -> int:
    """A whole number, unless it has more digits than every double has."""
    if len(token) > _SURELY_DOUBLE:
        raise ValueError
    return int(token)


def _may_exceed(body: bytes) -> bool:
    if any(pattern.search(body) for pattern in _EXPONENTS):
        return True
    # No number holds a comma; the split is much faster than the search and mostly settles it.
    return max(map(len, body.split(b","))) >= _LONG and _LONG_NUMBER.search(body) is not None


class _SlowParser:
    """RapidJSON's grammar, errors and offsets.

    Args:
        text: The document.
        offset: Bytes before it, which the offsets in errors count too.
    """

    def __init__(self, text: str, offset: int) -> None:
        self._text = text
        self._offset = offset
        self._at = 0

    def parse(self) -> Any:
        self._skip_space()
        if self._peek() in _END:
            self._fail("The document is empty.")
        value = self._value()
        self._skip_space()
        if self._peek() not in _END:
            self._fail("The document root must not be followed by other values.")
        return value

    def _value(self) -> Any:
        character = self._peek()
        if character == "{":
            return self._object()
        if character == "[":
            return self._array()
        if character == '"':
            return self._string()
        for word, value in (("null", None), ("true", True), ("false", False)):
            if character == word[0]:
                return self._word(word, value)
        return self._number()

    def _object(self) -> dict[str, Any]:
        self._at += 1
        self._skip_space()
        out: dict[str, Any] = {}
        if self._take("}"):
            return out
        while True:
            if self._peek() != '"':
                self._fail("Missing a name for object member.")
            name = self._string()
            self._skip_space()
            if not self._take(":"):
                self._fail("Missing a colon after a name of object member.")
            self._skip_space()
            out.setdefault(name, self._value())
            self._skip_space()
            if self._take("}"):
                return out
            if not self._take(","):
                self._fail("Missing a comma or } after an object member.")
            self._skip_space()

    def _array(self) -> list[Any]:
        self._at += 1
        self._skip_space()
        out: list[Any] = []
        if self._take("]"):
            return out
        while True:
            out.append(self._value())
            self._skip_space()
            if self._take("]"):
                return out
            if not self._take(","):
                self._fail("Missing a comma or ] after an array element.")
            self._skip_space()

    def _word(self, word: str, value: Any) -> Any:
        for character in word:
            if not self._take(character):
                self._fail("Invalid value.")
        return value

    def _number(self) -> int | float:
        special = _NON_FINITE.match(self._text, self._at)
        if special:
            self._at = special.end()
            return float(special[0].replace("Inf", "inf").replace("infinity", "inf"))
        start = self._at
        whole = _NUMBER.match(self._text, start)
        if whole is None:
            self._at += self._peek() == "-"
            self._fail("Invalid value.")
        self._at = whole.end()
        exact = True
        if self._take("."):
            exact = False
            self._digits("Miss fraction part in number.")
        if self._peek() in ("e", "E"):
            exact = False
            self._at += 1
            if self._peek() in ("+", "-"):
                self._at += 1
            self._digits("Miss exponent in number.")
        token = self._text[start : self._at]
        if float(token) in (float("inf"), float("-inf")):
            self._at = start
            self._fail("Number too big to be stored in double.")
        return int(token) if exact and len(token) <= 20 else float(token)

    def _digits(self, message: str) -> None:
        start = self._at
        while self._peek() in "0123456789" and self._peek():
            self._at += 1
        if self._at == start:
            self._fail(message)

    def _string(self) -> str:
        self._at += 1
        out: list[str] = []
        while True:
            character = self._peek()
            if character in _END:
                self._fail("Missing a closing quotation mark in string.")
            if ord(character) < 0x20:
                self._fail("Invalid encoding in string.")
            if character == "\\":
                out.append(self._escape())
                continue
            self._at += 1
            if character == '"':
                return "".join(out)
            out.append(character)

    def _escape(self) -> str:
        start = self._at
        kind = self._text[start + 1 : start + 2]
        if kind in _ESCAPES:
            self._at += 2
            return _ESCAPES[kind]
        if kind != "u":
            self._fail("Invalid escape character in string.")
        self._at += 2
        unit = self._hex(start)
        if 0xDC00 <= unit <= 0xDFFF:
            self._at = start
            self._fail("The surrogate pair in string is invalid.")
        if 0xD800 <= unit <= 0xDBFF:
            low = self._hex(start) if self._take("\\") and self._take("u") else 0
            if not 0xDC00 <= low <= 0xDFFF:
                self._at = start
                self._fail("The surrogate pair in string is invalid.")
            unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
        return chr(unit)

    def _hex(self, start: int) -> int:
        digits = self._text[self._at : self._at + 4]
        if re.fullmatch(r"[0-9a-fA-F]{4}", digits) is None:
            self._at = start
            self._fail("Incorrect hex digit after \\u escape in string.")
        self._at += 4
        return int(digits, 16)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> bool:
        taken = self._peek() == character
        self._at += taken
        return taken

    def _skip_space(self) -> None:
        while self._peek() and self._peek() in _SPACE:
            self._at += 1

    def _fail(self, message: str) -> NoReturn:
        offset = self._offset + len(self._text[: self._at].encode("utf-8", "surrogateescape"))
        raise _parse_error(message, offset)


def _parse_error(message: str, offset: int) -> ServingError:
    return invalid(f"JSON Parse error: {message} at offset: {offset}")
