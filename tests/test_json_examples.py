"""Classify and regress over REST: bodies, answers and errors, held against TF Serving's."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tensorflow as tf

from serving.publisher import publish
from serving.server.inference import Classes
from serving.server.json_examples import read_examples, write_classes, write_regressions
from serving.server.serving_error import Code, ServingError
from tests.rest_support import MODEL, ask, error, served_rest
from tests.server_models import export_example_reader

CLASSIFY, REGRESS = f"{MODEL}:classify", f"{MODEL}:regress"
ONE = {"examples": [{"x": 0.5}]}


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    model_dir = tmp_path_factory.mktemp("reader")
    publish(model_dir, export_example_reader)
    with served_rest(model_dir, rest_timeout_ms=500) as client:
        yield client


def features(document: dict[str, Any]) -> list[dict[str, list[Any]]]:
    out = []
    for serialized in read_examples(document):
        example = tf.train.Example.FromString(serialized)
        out.append(
            {
                name: list(getattr(feature, feature.WhichOneof("kind")).value) if feature.WhichOneof("kind") else []
                for name, feature in example.features.feature.items()
            }
        )
    return out


def test_classify(rest: httpx.Client) -> None:
    body = {"examples": [{"x": 0.25, "word": "a"}, {"x": [0.5], "word": [{"b64": "/w=="}]}]}
    response = ask(rest, body, CLASSIFY)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    # Bytes that are not UTF-8 go out raw, and the closing bracket stands where the real server puts it.
    assert response.content == (
        b'{\n    "results": [[["a", 0.25], ["other", 0.75]], [["\xff", 0.5], ["other", 0.5]]\n    ]\n}'
    )


def test_labels_or_scores_alone(rest: httpx.Client) -> None:
    assert ask(rest, {"signature_name": "labels", **ONE}, CLASSIFY).json() == {
        "results": [[["none", 0.0], ["other", 0.0]]]
    }
    assert ask(rest, {"signature_name": "scores", **ONE}, CLASSIFY).json() == {"results": [[["", 0.5], ["", 0.5]]]}


def test_regress(rest: httpx.Client) -> None:
    body = {"signature_name": "regress", "examples": [{"x": 0.5}, {"x": 0.1}]}
    assert ask(rest, body, REGRESS).text == '{\n    "results": [1.0, 0.2]\n}'
    assert ask(rest, {**body, "signature_name": "column"}, REGRESS).json() == {"results": [1.0, 0.2]}


def test_context(rest: httpx.Client) -> None:
    body = {"context": {"x": 0.75, "word": "both"}, "examples": [{"word": "own"}, {"x": 0.5}]}
    assert ask(rest, body, CLASSIFY).json()["results"] == [
        [["own", 0.75], ["other", 0.25]],
        [["both", 0.5], ["other", 0.5]],
    ]


def test_versions_and_models(rest: httpx.Client) -> None:
    assert ask(rest, ONE, f"{MODEL}/versions/1:classify").status_code == 200
    missing = ask(rest, ONE, f"{MODEL}/versions/7:classify")
    assert error(missing, 404) == "Servable not found for request: Specific(toy, 7)"
    missing = ask(rest, ONE, "/v1/models/q:regress")
    assert error(missing, 404) == "Servable not found for request: Latest(q)"
    label = ask(rest, ONE, f"{MODEL}/labels/x:regress")
    assert error(label) == "Unrecognized servable version label: x"
    # A body that cannot be read is told first.
    assert error(ask(rest, "", "/v1/models/q:regress")) == "JSON Parse error: The document is empty"


def test_whole_numbers_are_no_floats(rest: httpx.Client) -> None:
    assert "x" in error(ask(rest, {"examples": [{"x": 1}]}, CLASSIFY))
    assert "x" in error(ask(rest, {"examples": [{}]}, CLASSIFY))


def test_signatures(rest: httpx.Client) -> None:
    unknown = ask(rest, {"signature_name": "zz", **ONE}, CLASSIFY)
    assert error(unknown) == "No signature was found with the name: zz"
    assert error(ask(rest, ONE, REGRESS)) == "Expected one output Tensor."
    assert "'signature_name' key must be a string value." in error(ask(rest, {"signature_name": 1, **ONE}, REGRESS))


def test_timeout_is_504(rest: httpx.Client) -> None:
    error(ask(rest, {"signature_name": "slow", **ONE}, REGRESS), 504)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
        ({"examples": {}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{}], "context": [1]}, "Example must be JSON object but got JSON Array"),
        ({"examples": [{"a": None}]}, "Feature: a has element with unexpected JSON type: Null"),
        ({"examples": [{"a": [[1]]}]}, "Feature: a has element with unexpected JSON type: Array"),
        ({"examples": [{"a": {"b": 1}}]}, "Feature: a has element with unexpected JSON type: Object"),
        ({"examples": [{"a": [1, 2.5]}]}, "Unexpected element type in feature: a expecting type: int64"),
        ({"examples": [{"a": [2.5, True]}]}, "Unexpected element type in feature: a expecting type: float"),
        ({"examples": [{"a": ["b", 1]}]}, "Unexpected element type in feature: a expecting type: bytes"),
        ({"examples": [{"a": 2**63}]}, "Feature: a has uint64 element. Only int64 is supported."),
        ({"examples": [{"a": 1e39}]}, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        ({"examples": [{"a": {"b64": "_w=="}}]}, "Unable to base64 decode"),
    ],
)
def test_bad_examples(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ServingError) as raised:
        read_examples(document)
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert raised.value.message.endswith(message)


def test_features() -> None:
    example = {
        "i": [1, -(2**63)],
        "b": [True, False],
        "f": [0.5, float("inf")],
        "s": ["a", {"b64": "/w=="}],
        "none": [],
    }
    assert features({"examples": [example]}) == [
        {"i": [1, -(2**63)], "b": [1, 0], "f": [0.5, float("inf")], "s": [b"a", b"\xff"], "none": []}
    ]
    # Whole numbers beyond 64 bits are read as floats.
    assert features({"examples": [{"f": [2**64, 0.5]}]}) == [{"f": [2.0**64, 0.5]}]


def test_layout_without_classes() -> None:
    scores = np.empty((2, 0), np.float32)
    assert write_classes(Classes(None, scores)) == b'{\n    "results": [[], []\n    ]\n}'
    assert write_regressions(np.array([np.nan, -np.inf], np.float32)) == b'{\n    "results": [NaN, -Infinity]\n}'
