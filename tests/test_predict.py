"""`twin predict`: a request from a file or recorded with the servable, and how the answer is shown."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from model.errors import UserError
from serving.client import Prediction
from serving.predict import RequestError, as_json, predict, show
from serving.publisher import publish
from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions, single_model
from tests.server_models import ROOT, exporter, warmup_record


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("toy")
    publish(model_dir, exporter(2.0, warmup_record([[1, 2]], [3])))
    return model_dir


@pytest.fixture(scope="module")
def addresses(model_dir: Path) -> Iterator[tuple[str, str]]:
    server = ModelServer(ServerOptions((single_model("twin", str(model_dir)),), grpc_port=0, rest_port=0))
    server.start()
    yield f"127.0.0.1:{server.grpc_port}", f"127.0.0.1:{server.rest_port}"
    server.stop()


def _ask(addresses: tuple[str, str], over_rest: bool, **options: Any) -> Any:
    defaults: dict[str, Any] = {
        "model": "twin",
        "version": None,
        "signature": None,
        "request": None,
        "warmup": None,
        "timeout_s": 10,
    }
    return predict(addresses[over_rest], over_rest, **{**defaults, **options})


@pytest.mark.parametrize("over_rest", [False, True])
def test_recorded_request(addresses: tuple[str, str], model_dir: Path, over_rest: bool) -> None:
    inputs, answer = _ask(addresses, over_rest, warmup=model_dir)
    assert as_json(inputs, answer, 3)["outputs"] == {"y": [[2.0, 4.0]], "twice": [6]}
    console = Console(record=True, width=100)
    show(inputs, answer, 3, console)
    assert "float32" in console.export_text()


@pytest.mark.parametrize("over_rest", [False, True])
def test_request_file(addresses: tuple[str, str], tmp_path: Path, over_rest: bool) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"inputs": {"x": [[1, 2]], "history/length": [4]}}')
    assert _ask(addresses, over_rest, request=str(file))[1].outputs["twice"].tolist() == [8]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "request.json"),
        ("[1]", "the names history/length, x"),
        ('{"x": [[1, 2]], "z": 1}', r"missing inputs \['history/length'\], unknown inputs \['z'\]"),
        ('{"x": [[1, "a"]], "history/length": [1]}', "input x: JSON Value"),
        ('{"x": [[1, 2], [3]], "history/length": [1]}', "input x: Encountered list at unexpected size"),
    ],
)
def test_bad_request_file(addresses: tuple[str, str], tmp_path: Path, content: str, text: str) -> None:
    file = tmp_path / "request.json"
    file.write_text(content)
    with pytest.raises(RequestError, match=text):
        _ask(addresses, False, request=str(file))


def test_no_recorded_request(addresses: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no warm-up requests"):
        _ask(addresses, False, warmup=tmp_path)


def test_candidates_are_ranked() -> None:
    inputs: dict[str, Any] = {"candidate/item_id": np.array([[11, 12, 13]])}
    answer = Prediction({"pctr": np.array([[0.2, 0.9, 0.5]], np.float32)}, model_version=4, ms=1.25)
    top = as_json(inputs, answer, 2)["top"]
    assert [(row["item_id"], row["position"]) for row in top] == [(12, 1), (13, 2)]
    console = Console(record=True, width=100)
    show(inputs, answer, 2, console)
    text = console.export_text()
    assert "best of 3 candidates" in text
    assert "answered by version 4 in 1.2 ms" in text


def test_predict_command(addresses: tuple[str, str], model_dir: Path) -> None:
    command = [sys.executable, "twin.py", "predict"]
    command += ["--grpc", addresses[0], "--warmup", str(model_dir), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["outputs"]["twice"] == [6]
    assert answer["model_version"] == 1
    assert answer["latency_ms"] > 0


def test_strings_of_an_answer_are_shown_as_text() -> None:
    words = np.array([[b"caf\xc3\xa9", b"\xff\x00"]], object)
    assert as_json({}, Prediction({"word": words}, 1, 2.0), 3)["outputs"] == {"word": [["café", "\ufffd\x00"]]}
