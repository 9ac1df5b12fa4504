"""Predict bodies and answers over REST, held against TF Serving's."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from serving.publisher import publish
from tests.rest_support import INPUTS, ask, error, served_rest
from tests.server_models import exporter


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    model_dir = tmp_path_factory.mktemp("toy")
    publish(model_dir, exporter(2.0))
    with served_rest(model_dir) as client:
        yield client


def test_columnar_several_outputs(rest: httpx.Client) -> None:
    response = ask(rest, {"inputs": INPUTS})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"outputs": {"y": [[2.0, 4.0]], "twice": [6]}}


def test_columnar_layout_is_the_real_one(rest: httpx.Client) -> None:
    response = ask(rest, {"signature_name": "single", "inputs": [1.0, 0.1]})
    assert response.text == '{\n    "outputs": [\n        2.0,\n        0.2\n    ]\n}'


def test_row_layout_is_the_real_one(rest: httpx.Client) -> None:
    response = ask(rest, {"signature_name": "single", "instances": [1.0, 2.5]})
    assert response.text == '{\n    "predictions": [2.0, 5.0\n    ]\n}'
    response = ask(rest, {"signature_name": "single", "instances": [[1, 2], [3, 4]]})
    assert response.text == '{\n    "predictions": [[2.0, 4.0], [6.0, 8.0]\n    ]\n}'


def test_row_objects_layout(rest: httpx.Client) -> None:
    response = ask(rest, {"instances": [{"x": [1, 2], "history/length": 3}, {"x": [0.5, 0], "history/length": 0}]})
    assert response.json() == {"predictions": [{"y": [2.0, 4.0], "twice": 6}, {"y": [1.0, 0.0], "twice": 0}]}
    first = response.json()["predictions"][0]
    members = [f'            "{name}": {json.dumps(value)}' for name, value in first.items()]
    head = '{\n    "predictions": [\n        {\n' + ",\n".join(members) + "\n        },\n        {\n"
    assert response.text.startswith(head)


def test_scalar_output_is_columnar_only(rest: httpx.Client) -> None:
    assert ask(rest, {"signature_name": "scalar", "inputs": [1, 2]}).json()["outputs"] == {"sum": 3.0, "y": [1.0, 2.0]}
    message = error(ask(rest, {"signature_name": "scalar", "instances": [1, 2]}))
    assert message == "Tensor name: sum has no shape information "


def test_strings_and_bytes(rest: httpx.Client) -> None:
    body = {"signature_name": "words", "instances": ["ab", {"b64": "/wA="}]}
    response = ask(rest, body)
    assert response.status_code == 200
    assert b'"b64": "/wA="' in response.content
    # Bytes that are not UTF-8 go out raw.
    assert b'"upper": "\xff\\u0000"' in response.content


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "Inf", "-Inf"])
def test_not_finite_numbers(rest: httpx.Client, token: str) -> None:
    response = ask(rest, f'{{"signature_name": "single", "inputs": [{token}]}}')
    assert response.status_code == 200
    value = json.loads(response.content)["outputs"][0]
    assert np.isnan(value) if token == "NaN" else value == float(token)


def test_empty_batch(rest: httpx.Client) -> None:
    assert ask(rest, {"signature_name": "single", "inputs": []}).json() == {"outputs": []}
    assert "No values in 'instances' array" in error(ask(rest, {"signature_name": "single", "instances": []}))
    assert ask(rest, {"signature_name": "single", "inputs": [[], []]}).json() == {"outputs": [[], []]}
    # The shape of an empty list cannot be known: [0] does not multiply with [0, 2] checks in the graph.
    assert ask(rest, {"inputs": {"x": [], "history/length": []}}).json() == {"outputs": {"y": [], "twice": []}}


def test_shape_is_not_checked_against_the_signature(rest: httpx.Client) -> None:
    response = ask(rest, {"inputs": {"x": [[1, 2, 3]], "history/length": [0]}})
    assert response.json()["outputs"]["y"] == [[2.0, 4.0, 6.0]]


def test_extra_names_are_ignored_in_columnar_form(rest: httpx.Client) -> None:
    assert ask(rest, {"inputs": {**INPUTS, "other": 1}, "comment": "x"}).status_code == 200


def test_types_without_json_form(rest: httpx.Client) -> None:
    columnar = ask(rest, {"signature_name": "half", "inputs": [1.0]})
    assert error(columnar, 501) == "Conversion of JSON Value: 1.0 to type: half"
    row = ask(rest, {"signature_name": "half", "instances": [{"h": 1.0}]})
    assert error(row).startswith("Failed to process element: 0 key: h of 'instances' list. Error: UNIMPLEMENTED: Conv")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("  ", "JSON Parse error: The document is empty. at offset: 2"),
        ('{"a": 1} x', "JSON Parse error: The document root must not be followed by other values. at offset: 9"),
        ('{"a": [1, 2}', "JSON Parse error: Missing a comma or ] after an array element. at offset: 11"),
        ('{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5"),
        ("{a: 1}", "JSON Parse error: Missing a name for object member. at offset: 1"),
        ('{"a": 1', "JSON Parse error: Missing a comma or } after an object member. at offset: 7"),
        ('{"a": nope}', "JSON Parse error: Invalid value. at offset: 7"),
        ('{"a": 1e999}', "JSON Parse error: Number too big to be stored in double. at offset: 6"),
        ('{"a": 1.}', "JSON Parse error: Miss fraction part in number. at offset: 8"),
        ('{"a": "b', "JSON Parse error: Missing a closing quotation mark in string. at offset: 8"),
        (r'{"a": "\ud800"}', "JSON Parse error: The surrogate pair in string is invalid. at offset: 7"),
        ("[" * 100_000, "JSON Parse error: the lists are nested too deeply"),
        ("[1]", "JSON Value: [\n    1\n] Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances": 1}', "Excepting 'instances' to be an list/array"),
        ('{"instances": [1], "inputs": [1]}', "expecting only one of 'inputs' or 'instances' keys to exist "),
        ('{"signature_name": 5, "inputs": [1]}', "'signature_name' key must be a string value."),
        ('{"signature_name": "z", "inputs": 1}', 'Serving signature name: "z" not found in signature def'),
        ('{"inputs": {"x": [[1, 2]]}}', "Missing named input: history/length in 'inputs' object."),
        ('{"inputs": [1]}', "inputs is a plain value/list, but expecting an object as multiple input tensors"),
        ('{"instances": [1]}', "instances is a plain list, but expecting list of objects as multiple input tensors"),
        ('{"instances": [{"x": [1, 2]}]}', "must only have keys: history/length,x"),
        ('{"instances": [{"x": [1, 2], "history/length": 1, "z": 1}]}', "does not have named input: z"),
        (
            '{"instances": [{"x": [1], "history/length": 1}, {"x": [1, 2], "history/length": 1}]}',
            "Failed to process element: 1 key: x of 'instances' list. Error: INVALID_ARGUMENT: "
            "Expecting tensor size: 1 but got: 2",
        ),
        (
            '{"instances": [{"x": [[1, 2]], "history/length": 1}, {"x": [1, 2], "history/length": 1}]}',
            "Expecting shape [1,2] but got: [2]",
        ),
        ('{"instances": [{"x": [1, 2], "history/length": 1}, 5]}', "Expecting object but got list at item 1"),
        ('{"signature_name": "single", "instances": [5, {"x": 1}]}', "Expecting value/list but got object at item 1"),
        ('{"signature_name": "single", "inputs": [[1, 2], [3]]}', "unexpected size: 1 at level: 1 expected size: 2"),
        ('{"signature_name": "single", "inputs": [[1], 2]}', "found at incorrect level: 2 in the JSON DOM"),
        ('{"signature_name": "single", "inputs": [1, [2]]}', "Encountered list at unexpected level: 1 expected < 1"),
        ('{"inputs": {"x": [[1, 2]], "history/length": [-1]}}', "history/length must not be negative"),
        ('{"inputs": {"x": 1, "history/length": [1]}, "signature_name": ""}', None),
    ],
)
def test_bad_body(rest: httpx.Client, body: str, message: str | None) -> None:
    response = ask(rest, body)
    if message is None:
        assert response.status_code == 200
    else:
        assert message in error(response)
