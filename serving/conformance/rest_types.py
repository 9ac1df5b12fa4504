"""REST: what each type takes, and how numbers and strings are written."""

import json
from typing import Any

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.target import RestAnswer, Target
from serving.conformance.toy_model import ECHO_TYPES, TYPES_WITHOUT_JSON

TYPES = Section.REST_TYPES
BINARY = Section.REST_BINARY
PREDICT = "/v1/models/toy:predict"
ECHO: dict[str, Any] = dict.fromkeys(ECHO_TYPES, 1) | {"flag": True, "text": "a"}
WRONG_TYPE = "is not of expected type"


def echo_body(**values: Any) -> dict[str, Any]:
    """A request that sends one value of each type through the graph and back."""
    return {"signature_name": "echo", "inputs": {**ECHO, **values}}


def echo(target: Target, **values: Any) -> RestAnswer:
    """POSTs `echo_body`."""
    return target.post(PREDICT, echo_body(**values))


@case(TYPES)
def every_type(target: Target) -> None:
    """Every type with a JSON form goes in and comes out; whole floats with ".0"."""
    answer = echo(target, f32=1.5)
    expected = {f"{name}_out": value for name, value in ECHO.items()} | {"f32_out": 1.5, "f64_out": 1.0}
    checks.rest_json(answer, {"outputs": expected})
    checks.holds('"1.0" for f64', b'"f64_out": 1.0' in answer.body, answer.shown(), answer.sent)
    checks.holds('"1" for i32', b'"i32_out": 1,' in answer.body or b'"i32_out": 1\n' in answer.body, answer.shown())


@case(
    TYPES,
    rows=[
        ("i64", 1.0),
        ("i64", True),
        ("i64", "1"),
        ("i64", None),
        ("i64", 2**63),
        ("i32", 2**31),
        ("i32", 1.5),
        ("i16", 2**31),
        ("u8", -(2**31) - 1),
        ("u32", -1),
        ("u32", 2**32),
        ("u64", -1),
        ("u64", 2**64),
        ("u64", 1.0),
        ("flag", 1),
        ("flag", "true"),
        ("flag", None),
        ("text", 1),
        ("text", None),
        ("f32", "1"),
        ("f32", True),
        ("f32", None),
        ("f64", None),
    ],
)
def strict_types(target: Target, name: str, value: Any) -> None:
    """The input {0} does not take {1}: 400."""
    checks.rest_error(echo(target, **{name: value}), 400, WRONG_TYPE)


@case(
    TYPES,
    rows=[
        ("i32", -(2**31)),
        ("i64", -(2**63)),
        ("i64", 2**63 - 1),
        ("u32", 2**32 - 1),
        ("u64", 2**64 - 1),
        ("i16", -(2**15)),
    ],
)
def type_limits(target: Target, name: str, value: int) -> None:
    """The input {0} takes its limit {1}."""
    checks.equal("value", checks.rest_ok(echo(target, **{name: value}))["outputs"][f"{name}_out"], value)


@case(TYPES, rows=[("i8", 300, 44), ("u8", 300, 44), ("u8", -1, 255), ("i16", 2**16 + 5, 5)])
def small_ints_wrap(target: Target, name: str, value: int, wrapped: int) -> None:
    """Integers below 32 bits are checked against int32 only: {0} makes {2} of {1}."""
    checks.equal("value", checks.rest_ok(echo(target, **{name: value}))["outputs"][f"{name}_out"], wrapped)


@case(TYPES)
def whole_numbers_for_floats(target: Target) -> None:
    """Floats and doubles take any number."""
    received = checks.rest_ok(echo(target, f32=-3, f64=2**40))["outputs"]
    checks.equal("values", (received["f32_out"], received["f64_out"]), (-3.0, 2.0**40))


@case(
    TYPES,
    rows=[
        ("NaN", "NaN"),
        ("Inf", "Infinity"),
        ("Infinity", "Infinity"),
        ("-Inf", "-Infinity"),
        ("-Infinity", "-Infinity"),
    ],
)
def not_finite(target: Target, literal: str, written: str) -> None:
    """{0} is read for floats and doubles, and written as the bare token {1}."""
    answer = target.post(PREDICT, json.dumps(echo_body(f32="@", f64="@")).replace('"@"', literal))
    checks.rest_ok(answer)
    for name in ("f32", "f64"):
        found = f'"{name}_out": {written}'.encode() in answer.body
        checks.holds(f'"{name}_out": {written}', found, answer.shown(), answer.sent)


@case(
    TYPES,
    rows=[
        ("2", "2.0"),
        ("0.2", "0.2"),
        ("2e-05", "2e-05"),
        ("1.8e7", "1.8e+07"),
        ("0.333333343", "0.333333343"),
        ("-0.0", "-0.0"),
        ("1e-20", "1e-20"),
    ],
)
def float_text(target: Target, sent: str, written: str) -> None:
    """The float {0} is written as {1}."""
    answer = target.post(PREDICT, f'{{"signature_name": "total", "inputs": {{"x": [{sent}]}}}}')
    checks.rest_ok(answer)
    found = f'"y":[{written}]'.encode() in b"".join(answer.body.split())
    checks.holds(f'"y": [{written}]', found, answer.shown(), answer.sent)


@case(TYPES, rows=[("0.1", "0.1"), ("0.30000000000000004", "0.30000000000000004"), ("1e300", "1e+300")])
def double_text(target: Target, sent: str, written: str) -> None:
    """The double {0} is written as {1}."""
    answer = echo(target, f64=float(sent))
    checks.rest_ok(answer)
    found = f'"f64_out": {written}'.encode() in answer.body
    checks.holds(f'"f64_out": {written}', found, answer.shown(), answer.sent)


@case(TYPES, rows=[(name,) for name in TYPES_WITHOUT_JSON])
def no_json_form_columnar(target: Target, name: str) -> None:
    """Columnar form: an input of type {0} has no JSON form: 501."""
    checks.rest_error(target.post(PREDICT, {"signature_name": f"no_{name}", "inputs": [1.0]}), 501)


@case(TYPES, rows=[(name,) for name in TYPES_WITHOUT_JSON])
def no_json_form_row(target: Target, name: str) -> None:
    """Row form: an input of type {0} has no JSON form: 400 that wraps UNIMPLEMENTED."""
    answer = target.post(PREDICT, {"signature_name": f"no_{name}", "instances": [{"v": 1.0}]})
    checks.rest_error(answer, 400, "Failed to process element: 0 key: v of 'instances' list. Error: UNIMPLEMENTED: ")


@case(TYPES, rows=[(name,) for name in TYPES_WITHOUT_JSON])
def no_json_form_output(target: Target, name: str) -> None:
    """An output of type {0} has no JSON form: 400."""
    answer = target.post(PREDICT, {"signature_name": f"to_{name}", "inputs": [1.0]})
    checks.rest_error(answer, 400, "Failed to write JSON value for tensor type")


@case(BINARY)
def plain_strings(target: Target) -> None:
    """Strings go in and come out; an output named *_bytes comes out as base64."""
    answer = target.post(PREDICT, {"signature_name": "words", "instances": ["ab", "é"]})
    expected = [{"upper": "AB", "raw_bytes": {"b64": "YWI="}}, {"upper": "é", "raw_bytes": {"b64": "w6k="}}]
    checks.rest_json(answer, {"predictions": expected})


@case(BINARY)
def base64_in(target: Target) -> None:
    """An object {"b64": ...} stands for a string, in row and columnar form."""
    body: Any = {"signature_name": "words", "instances": [{"b64": "YWI="}]}
    checks.rest_json(target.post(PREDICT, body), {"predictions": [{"upper": "AB", "raw_bytes": {"b64": "YWI="}}]})
    body = {"signature_name": "words", "inputs": {"text": [{"b64": "YWI="}, "c"]}}
    expected = {"upper": ["AB", "C"], "raw_bytes": [{"b64": "YWI="}, {"b64": "Yw=="}]}
    checks.rest_json(target.post(PREDICT, body), {"outputs": expected})


@case(BINARY)
def base64_bytes(target: Target) -> None:
    """Bytes that are no text survive by base64."""
    answer = echo_words(target, {"b64": "AP/+"})
    checks.holds('{"b64": "AP/+"}', b'"AP/+"' in answer.body, answer.shown(), answer.sent)


@case(BINARY)
def raw_bytes_out(target: Target) -> None:
    """A string output not named *_bytes is written raw, even where that is no UTF-8."""
    answer = echo_words(target, {"b64": "gP8="})
    checks.equal("status", answer.status, 200, answer.sent)
    checks.holds("the bytes 80 ff in the body", b"\x80\xff" in answer.body, answer.shown(), answer.sent)


@case(BINARY, rows=[("!!",), ("_-8=",), ("YWI=YWI",)])
def bad_base64(target: Target, text: str) -> None:
    """{0} is no base64 of the standard alphabet: 400."""
    checks.rest_error(echo_words(target, {"b64": text}), 400, "Unable to base64 decode")


@case(BINARY)
def base64_with_another_key(target: Target) -> None:
    """An object with more keys than "b64" stands for no string: 400."""
    checks.rest_error(echo_words(target, {"b64": "YWI=", "x": 1}), 400)


@case(BINARY)
def base64_for_a_number(target: Target) -> None:
    """Base64 stands for no number: 400."""
    checks.rest_error(echo(target, f32={"b64": "AACAPw=="}), 400)


@case(BINARY)
def control_characters(target: Target) -> None:
    """Quotes, backslashes and control characters are escaped in answers."""
    text = 'A"\\\n\t\x01'
    answer = target.post(PREDICT, {"signature_name": "words", "inputs": [text]})
    checks.equal("text", checks.rest_ok(answer)["outputs"]["upper"], [text], answer.sent)


def echo_words(target: Target, value: Any) -> RestAnswer:
    """Sends one string through the graph and back."""
    return target.post(PREDICT, {"signature_name": "words", "inputs": {"text": [value]}})
