"""The REST API: bodies, number formats, errors and routing, held against TF Serving's."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from tensorflow.core.framework import types_pb2

from serving.publisher import publish
from serving.server.json_parser import parse_json
from serving.server.json_values import to_array
from serving.server.json_writer import decimal_texts
from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions, single_model
from serving.server.status import Code, ServingError
from tests.server_models import exporter

MODEL = "/v1/models/toy"
PREDICT = f"{MODEL}:predict"
MAX_BODY_BYTES = 200_000
INPUTS: dict[str, Any] = {"x": [[1.0, 2.0]], "history/length": [3]}


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    model_dir = tmp_path_factory.mktemp("toy")
    publish(model_dir, exporter(2.0))
    model = single_model("toy", str(model_dir))
    options = ServerOptions(
        (model,), grpc_port=None, rest_port=0, rest_timeout_ms=1000, max_request_bytes=MAX_BODY_BYTES
    )
    server = ModelServer(options)
    server.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}") as client:
        yield client
    server.stop()


def ask(rest: httpx.Client, body: Any, path: str = PREDICT) -> httpx.Response:
    return rest.post(path, content=body if isinstance(body, (str, bytes)) else json.dumps(body))


def error(response: httpx.Response, status: int = 400) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    return str(response.json()["error"])


def echo(rest: httpx.Client, **changed: Any) -> httpx.Response:
    values: dict[str, Any] = {
        "f32": 1.5,
        "f64": 0.1,
        "i8": 1,
        "i32": 2,
        "i64": 3,
        "u8": 4,
        "u32": 5,
        "u64": 6,
        "flag": True,
        "text": "a",
    }
    return ask(rest, {"signature_name": "echo", "inputs": {**values, **changed}})


# --- predict, good requests ---


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


def test_base64_is_padded_or_not_and_never_websafe(rest: httpx.Client) -> None:
    assert ask(rest, {"signature_name": "words", "inputs": [{"b64": "/wA"}]}).status_code == 200
    assert error(ask(rest, {"signature_name": "words", "inputs": [{"b64": "_wA="}]})) == "Unable to base64 decode"


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


def test_gzip_request(rest: httpx.Client) -> None:
    body = gzip.compress(json.dumps({"inputs": INPUTS}).encode())
    assert rest.post(PREDICT, content=body, headers={"Content-Encoding": "gzip"}).status_code == 200
    assert "gzip" in error(rest.post(PREDICT, content=b"not gzip", headers={"Content-Encoding": "gzip"}))


def test_long_bodies_are_refused(rest: httpx.Client) -> None:
    body = json.dumps({"inputs": INPUTS}).encode()
    longest = body.ljust(MAX_BODY_BYTES)
    assert ask(rest, longest).status_code == 200
    text = f"longer than the {MAX_BODY_BYTES} bytes this server takes"
    assert text in error(ask(rest, longest + b" "), 413)
    assert text in error(ask(rest, body.ljust(20 * MAX_BODY_BYTES)), 413)
    packed = {"Content-Encoding": "gzip"}
    assert rest.post(PREDICT, content=gzip.compress(longest), headers=packed).status_code == 200
    unpacked = rest.post(PREDICT, content=gzip.compress(longest + b" "), headers=packed)
    assert f"the gunzipped request body is {text}" in error(unpacked, 413)
    cut = rest.post(PREDICT, content=gzip.compress(body)[:-9], headers=packed)
    assert "incomplete" in error(cut)
    assert ask(rest, body).status_code == 200


def test_version_in_the_path(rest: httpx.Client) -> None:
    assert ask(rest, {"inputs": INPUTS}, f"{MODEL}/versions/1:predict").status_code == 200
    missing = ask(rest, {"inputs": INPUTS}, f"{MODEL}/versions/7:predict")
    assert error(missing, 404) == "Servable not found for request: Specific(toy, 7)"
    label = ask(rest, {"inputs": INPUTS}, f"{MODEL}/labels/stable:predict")
    assert error(label) == "Unrecognized servable version label: stable"


# --- types ---


def test_every_type_both_ways(rest: httpx.Client) -> None:
    outputs = echo(rest).json()["outputs"]
    assert outputs == {
        "f32_out": 1.5,
        "f64_out": 0.1,
        "i8_out": 1,
        "i32_out": 2,
        "i64_out": 3,
        "u8_out": 4,
        "u32_out": 5,
        "u64_out": 6,
        "flag_out": True,
        "text_out": "a",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("i64", 1.0),
        ("i64", True),
        ("i64", "1"),
        ("i64", None),
        ("i64", 2**63),
        ("i32", 2**31),
        ("i32", 1.5),
        ("u32", -1),
        ("u64", -1),
        ("u64", 2**64),
        ("flag", 1),
        ("text", 1),
        ("f32", "1"),
        ("f32", True),
        ("f32", None),
        ("f32", {"b64": "AA=="}),
    ],
)
def test_strict_types(rest: httpx.Client, name: str, value: Any) -> None:
    assert "is not of expected type" in error(echo(rest, **{name: value}))


@pytest.mark.parametrize(
    ("name", "value"), [("i64", -(2**63)), ("i64", 2**63 - 1), ("u64", 2**64 - 1), ("u32", 2**32 - 1)]
)
def test_type_limits(rest: httpx.Client, name: str, value: int) -> None:
    assert echo(rest, **{name: value}).json()["outputs"][f"{name}_out"] == value


def test_small_ints_wrap_as_in_the_real_server(rest: httpx.Client) -> None:
    assert echo(rest, i8=300).json()["outputs"]["i8_out"] == 44


def test_floats_that_lose_digits(rest: httpx.Client) -> None:
    assert echo(rest, f32=2**24 - 1).status_code == 200
    for value in (2**24, 1e39):
        assert "without loss of precision" in error(echo(rest, f32=value))


def test_types_without_json_form(rest: httpx.Client) -> None:
    columnar = ask(rest, {"signature_name": "half", "inputs": [1.0]})
    assert error(columnar, 501) == "Conversion of JSON Value: 1.0 to type: half"
    row = ask(rest, {"signature_name": "half", "instances": [{"h": 1.0}]})
    assert error(row).startswith("Failed to process element: 0 key: h of 'instances' list. Error: UNIMPLEMENTED: Conv")


# --- predict, bad requests ---


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


def test_timeout_is_504(rest: httpx.Client) -> None:
    error(ask(rest, {"signature_name": "slow", "inputs": 30.0}), 504)


def test_error_layout(rest: httpx.Client) -> None:
    assert ask(rest, "").text == '{\n    "error": "JSON Parse error: The document is empty"\n}'


# --- routing ---


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", MODEL),
        ("POST", f"{PREDICT}/"),
        ("POST", f"{PREDICT}?x=1"),
        ("POST", f"{MODEL}:PREDICT"),
        ("POST", f"{MODEL}:explain"),
        ("POST", f"{MODEL}/versions/one:predict"),
        ("GET", PREDICT),
        ("GET", f"{MODEL}/"),
        ("GET", f"{MODEL}/versions/x"),
        ("GET", "/v1/nothing"),
        ("PUT", MODEL),
        ("DELETE", MODEL),
    ],
)
def test_malformed_requests(rest: httpx.Client, method: str, path: str) -> None:
    assert error(rest.request(method, path)) == f"Malformed request: {method} {path}"


def test_outside_of_v1(rest: httpx.Client) -> None:
    for path in ("/", "/v1", "/v2/models/toy", "/favicon.ico"):
        response = rest.get(path)
        assert response.status_code == 404
        assert "<H1>Not Found</H1>" in response.text
        assert response.headers["content-type"].startswith("text/html")


def test_query_is_part_of_the_name(rest: httpx.Client) -> None:
    assert error(rest.get(f"{MODEL}?x=1"), 404) == "Could not find any versions of model toy?x=1"


def test_case_of_the_path(rest: httpx.Client) -> None:
    assert rest.get("/V1/Models/toy").status_code == 200
    assert error(rest.get("/v1/models/TOY"), 404) == "Could not find any versions of model TOY"


def test_name_is_decoded_and_never_a_path(rest: httpx.Client) -> None:
    assert rest.get("/v1/models/%74oy").status_code == 200
    message = error(rest.get("/v1/models/..%2F..%2Fetc"), 404)
    assert message == "Could not find any versions of model ../../etc"


def test_version_above_int64(rest: httpx.Client) -> None:
    for digits in (str(2**63), "9" * 5000):
        response = rest.get(f"{MODEL}/versions/{digits}")
        assert (response.status_code, response.content) == (400, b"")


def test_options(rest: httpx.Client) -> None:
    assert rest.options(MODEL, headers={"Origin": "https://example.org"}).status_code == 200
    assert rest.options(MODEL).status_code == 400


def test_status(rest: httpx.Client) -> None:
    available = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in (MODEL, f"{MODEL}/versions/1", f"{MODEL}/labels/ignored"):
        assert rest.get(path).json() == {"model_version_status": [available]}
    assert rest.get(MODEL).text.startswith('{\n "model_version_status": [\n  {\n   "version": "1",\n')
    assert error(rest.get(f"{MODEL}/versions/9"), 404) == "Could not find version 9 of model toy"
    assert error(rest.get("/v1/models")) == "Missing model name in request."


def test_metadata(rest: httpx.Client) -> None:
    answer = rest.get(f"{MODEL}/metadata").json()
    assert answer["model_spec"] == {"name": "toy", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert "__saved_model_init_op" in signatures
    signature = signatures["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["defaults"] == {}
    assert signature["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False},
        "name": "serving_default_x:0",
    }
    assert set(signature["outputs"]) == {"y", "twice"}
    assert error(rest.get("/v1/models/no/metadata"), 404) == "Servable not found for request: Latest(no)"


# --- the parts alone ---


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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud83d\ude00\n"', "\U0001f600\n"),
        ("[Inf, -Infinity, 1]", [float("inf"), float("-inf"), 1]),
        ('{"a": 1, "a": Inf}', {"a": 1}),
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


def test_nested_lists() -> None:
    array = to_array([[[1, 2]], [[3, 4]], [[5, 6]]], types_pb2.DT_INT64)
    assert array.dtype == np.int64
    np.testing.assert_array_equal(array, [[[1, 2]], [[3, 4]], [[5, 6]]])
    assert to_array([[], []], types_pb2.DT_FLOAT).shape == (2, 0)
    assert to_array(5, types_pb2.DT_FLOAT).shape == ()
