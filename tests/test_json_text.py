"""Numbers, strings and whole values as text, character for character."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import numpy as np
import pytest

from serving.server.json_text import decimal_texts, dump, quote


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0, "2.0"),
        (0.2, "0.2"),
        (2e-05, "2e-05"),
        (1.8e7, "1.8e+07"),
        (9000000.0, "9e+06"),
        (123456789.0, "123456792.0"),
        (1 / 3, "0.333333343"),
        (-0.0, "-0.0"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
    ],
)
def test_float32_texts(value: float, text: str) -> None:
    assert decimal_texts(np.array([value], np.float32), 9) == [text]


def test_texts_read_back() -> None:
    values = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    np.testing.assert_array_equal(np.array(decimal_texts(values, 9), np.float32), values)
    doubles = np.random.default_rng(1).normal(size=1000)
    np.testing.assert_array_equal(np.array(decimal_texts(doubles, 17), np.float64), doubles)


def test_control_characters_are_escaped_in_capitals() -> None:
    assert quote('a"\\/\b\f\n\r\t') == '"a\\"\\\\/\\b\\f\\n\\r\\t"'
    assert quote("\x00\x1f\x7f\u00e9") == '"\\u0000\\u001F\x7f\u00e9"'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (2.0, "2.0"),
        (0.1, "0.1"),
        # A number alone is printed as the float it becomes.
        (0.123456789, "0.123456791"),
        (1e39, "1e+39"),
        (2**64, "1.84467441e+19"),
        (2**64 - 1, "18446744073709551615"),
        (float("nan"), "NaN"),
        (None, "null"),
        (True, "true"),
        ("\x01", '"\\u0001"'),
        ([], "[]"),
        ({}, "{}"),
        ([1, {"a": [False]}], '[\n    1,\n    {\n        "a": [\n            false\n        ]\n    }\n]'),
    ],
)
def test_values_in_messages(value: object, text: str) -> None:
    assert dump(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (100.0, "100.0"),
        (-12.5, "-12.5"),
        (0.123456789, "0.123456789"),
        (0.000001, "0.000001"),
        (0.0000001, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (1e20, "100000000000000000000.0"),
        (1e21, "1e21"),
        (1.25e30, "1.25e30"),
        (2**66, "73786976294838210000.0"),
        (2**70, "1.1805916207174113e21"),
        (float("inf"), "Infinity"),
    ],
)
def test_numbers_in_lists_have_the_shortest_digits(value: float, text: str) -> None:
    assert dump([value]) == f"[\n    {text}\n]"
