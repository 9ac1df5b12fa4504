"""The JSON parser: what it takes, and its error texts and offsets."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

from typing import Any

import numpy as np
import pytest

from serving.server import json_parser
from serving.server.json_parser import parse_json
from serving.server.serving_error import Code, ServingError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud83d\ude00\n"', "\U0001f600\n"),
        (r'"\uD83D\uDe00\ud7ff\\ud800"', "\U0001f600\ud7ff\\ud800"),
        ('["item1234", 2.5e+100, 1e-400, 12]', ["item1234", 2.5e100, 0.0, 12]),
        ("[Inf, -Infinity, 1]", [float("inf"), float("-inf"), 1]),
        ('{"a": 1, "a": Inf}', {"a": 1}),
        ('{"a": 1, "b": 3, "a": 2}', {"a": 1, "b": 3}),
        ("[1]\0 and anything", [1]),
        ("1" + "0" * 300, 1e300),
        ("[1e-400, 1e+100, -0, null, true, false]", [0.0, 1e100, 0, None, True, False]),
        ("\ufeff[ ]", []),
        ("{}", {}),
    ],
)
def test_parser(text: str, value: Any) -> None:
    assert parse_json(text.encode()) == value


def test_random_bodies_get_an_answer_or_invalid_argument() -> None:
    random = np.random.default_rng(0)
    alphabet = list('{}[]",:\\u0123eE+-.naIN t\x00\xff')
    for _ in range(3000):
        body = "".join(random.choice(alphabet, size=int(random.integers(1, 30)))).encode("latin-1")
        try:
            parse_json(body)
        except ServingError as raised:
            assert raised.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\xef\xbb\xbf[1", "Missing a comma or ] after an array element. at offset: 5"),
        (b"\0", "The document is empty. at offset: 0"),
        (b"[1]x", "The document root must not be followed by other values. at offset: 3"),
        (b'"\x01"', "Invalid encoding in string. at offset: 1"),
        (b'"\\\\\\ude00"', "The surrogate pair in string is invalid. at offset: 3"),
        (b'"\\ud83dx"', "The surrogate pair in string is invalid. at offset: 1"),
        (b'["e100", 1e999]', "Number too big to be stored in double. at offset: 9"),
        (b'"\\q"', "Invalid escape character in string. at offset: 1"),
        (b'"\\u12g4"', "Incorrect hex digit after \\u escape in string. at offset: 1"),
        (b"[" + b"1" * 299 + b"e99]", "Number too big to be stored in double. at offset: 1"),
        (b"[1e]", "Miss exponent in number. at offset: 3"),
        (b'["\xc3\xa9" 1]', "Missing a comma or ] after an array element. at offset: 6"),
    ],
)
def test_errors(body: bytes, message: str) -> None:
    with pytest.raises(ServingError) as raised:
        parse_json(body)
    assert raised.value.message == f"JSON Parse error: {message}"


@pytest.mark.parametrize("body", [b'["\\ud83d\\ude00", 1]', b'["image1234", 1.5]', b"[" + b"1" * 250 + b"]"])
def test_what_is_right_needs_no_slow_parser(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_parser, "_SlowParser", None)
    assert parse_json(body)
