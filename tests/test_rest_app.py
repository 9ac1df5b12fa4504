"""The REST API around the bodies: routing, headers, limits, status and metadata, held against TF Serving's."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import asyncio
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.publisher import publish
from serving.server.model_store import ModelStore
from serving.server.options import single_model
from serving.server.rest_app import RestApp
from serving.server.servable import Servable
from tests.rest_support import INPUTS, MODEL, PREDICT, ask, error, served_rest
from tests.server_models import export_example_reader, exporter

MAX_BODY_BYTES = 200_000


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    model_dir = tmp_path_factory.mktemp("toy")
    publish(model_dir, exporter(2.0))
    with served_rest(model_dir, rest_timeout_ms=1000, max_request_bytes=MAX_BODY_BYTES) as client:
        yield client


def test_gzip_request(rest: httpx.Client) -> None:
    body = gzip.compress(json.dumps({"inputs": INPUTS}).encode())
    for encoding in ("gzip", "deflate, gzip", "x-gzip"):
        assert rest.post(PREDICT, content=body, headers={"Content-Encoding": encoding}).status_code == 200
    assert "JSON Parse error" in error(rest.post(PREDICT, content=body, headers={"Content-Encoding": "GZIP"}))
    response = rest.post(PREDICT, content=json.dumps({"inputs": INPUTS}), headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in response.headers
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


def test_timeout_is_504(rest: httpx.Client) -> None:
    error(ask(rest, {"signature_name": "slow", "inputs": 30.0}), 504)


def test_error_layout(rest: httpx.Client) -> None:
    assert ask(rest, "").text == '{\n    "error": "JSON Parse error: The document is empty"\n}'


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
        assert response.text == (
            "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
        )
        assert response.headers["content-type"] == "text/html"
        assert response.headers["connection"] == "close"


def test_query_is_part_of_the_name(rest: httpx.Client) -> None:
    assert error(rest.get(f"{MODEL}?x=1"), 404) == "Could not find any versions of model toy?x=1"


def test_case_of_the_path(rest: httpx.Client) -> None:
    assert rest.get("/V1/Models/toy").status_code == 200
    # The path matches, but what comes after the name is compared as it is.
    assert "model_version_status" in rest.get(f"{MODEL}/METADATA").json()
    assert error(rest.get("/v1/models/TOY"), 404) == "Could not find any versions of model TOY"


def test_name_is_decoded_and_never_a_path(rest: httpx.Client) -> None:
    assert rest.get("/v1/models/%74oy").status_code == 200
    message = error(rest.get("/v1/models/..%2F..%2Fetc"), 404)
    assert message == "Could not find any versions of model ../../etc"
    # What is no escape stays as it is, and a plus is a plus.
    assert error(rest.get("/v1/models/a+b%zz%"), 404) == "Could not find any versions of model a+b%zz%"
    assert error(rest.get("/v1/models/%C3%A9"), 404) == "Could not find any versions of model \u00e9"
    assert error(rest.post(f"{MODEL}/labels/a%2Fb:predict", content='{"inputs": 1}')).endswith("version label: a/b")


def test_version_above_int64(rest: httpx.Client) -> None:
    for digits in (str(2**63), "9" * 5000):
        for response in (rest.get(f"{MODEL}/versions/{digits}"), rest.post(f"{MODEL}/versions/{digits}:PREDICT")):
            assert (response.status_code, response.content) == (400, b"")
            assert response.headers["content-type"] == "application/json"
    assert error(rest.get(f"{MODEL}/versions/{2**63 - 1}"), 404).startswith(f"Could not find version {2**63 - 1} of")
    assert rest.get(f"{MODEL}/versions/{'0' * 50}1").status_code == 200


def test_options(rest: httpx.Client) -> None:
    for origin in ("https://example.org", "http://localhost:80", "x http://y"):
        response = rest.options(MODEL, headers={"Origin": origin})
        assert (response.status_code, response.content) == (200, b"")
        assert "access-control-allow-origin" not in response.headers
    for headers in ({}, {"Origin": "null"}):
        response = rest.options(f"{MODEL}:nothing", headers=headers)
        assert (response.status_code, response.content) == (400, b"")
    assert rest.options("/elsewhere", headers={"Origin": "https://example.org"}).status_code == 404


def test_no_cors_headers_by_default(rest: httpx.Client) -> None:
    assert not [name for name in rest.get(MODEL).headers if name.startswith("access-control")]


def test_cors_headers() -> None:
    app = RestApp(ModelStore([], Servable), threads=1, max_body_bytes=MAX_BODY_BYTES, enable_cors=True)

    async def headers(method: str, path: str, status: int) -> dict[str, str]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            response = await client.request(method, path, headers={"Origin": "https://example.org"})
        assert response.status_code == status
        return {name: value for name, value in response.headers.items() if name.startswith("access-control")}

    allowed = {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "POST, GET",
        "access-control-allow-headers": "Content-Type",
    }
    for method, path, status in (
        ("OPTIONS", MODEL, 200),
        ("GET", MODEL, 404),
        ("GET", f"{MODEL}/versions/{2**63}", 400),
        ("POST", PREDICT, 400),
    ):
        assert asyncio.run(headers(method, path, status)) == allowed
    assert asyncio.run(headers("GET", "/elsewhere", 404)) == {}


def test_method_names_are_checked_only_when_asked_for(tmp_path: Path) -> None:
    publish(tmp_path, export_example_reader)
    store = ModelStore([single_model("toy", str(tmp_path))], Servable)
    store.start()
    store.wait_ready()
    app = RestApp(store, threads=1, max_body_bytes=MAX_BODY_BYTES, check_method_names=True)

    async def classify(signature: str) -> httpx.Response:
        body = json.dumps({"signature_name": signature, "examples": [{"x": 0.5}]})
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post(f"{MODEL}:classify", content=body)

    try:
        assert asyncio.run(classify("apart")).status_code == 200
        assert "method_name to be tensorflow/serving/classify" in error(asyncio.run(classify("")))
    finally:
        store.close()


def test_deep_nesting(rest: httpx.Client) -> None:
    for depth in (300, 900, 50_000):
        error(ask(rest, "[" * depth + "]" * depth))
        error(ask(rest, f'{{"signature_name": "single", "inputs": {"[" * depth}{"]" * depth}}}'))


def test_status(rest: httpx.Client) -> None:
    available = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in (MODEL, f"{MODEL}/versions/1", f"{MODEL}/labels/ignored"):
        assert rest.get(path).json() == {"model_version_status": [available]}
    assert rest.get(MODEL).text.startswith('{\n "model_version_status": [\n  {\n   "version": "1",\n')
    assert error(rest.get(f"{MODEL}/versions/9"), 404) == "Could not find version 9 of model toy"
    for path in ("/v1/models", "/v1/models/versions/1"):
        assert error(rest.get(path)) == "Missing model name in request."


def test_metadata(rest: httpx.Client) -> None:
    response = rest.get(f"{MODEL}/metadata")
    assert response.headers["content-type"] == "application/json"
    # The place of every line break is the real one.
    assert response.text.startswith(
        '{\n"model_spec":{\n "name": "toy",\n "signature_name": "",\n "version": "1"\n}\n,\n"metadata": '
        '{"signature_def": {\n "signature_def": {\n  "'
    )
    assert response.text.endswith("\n }\n}\n}\n}\n")
    answer = response.json()
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
