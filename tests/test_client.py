"""The client over both protocols, and `twin predict` and `twin serve` around it, against a server process."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from model.errors import UserError
from serving.client import Client, PredictError
from serving.predict import RequestError, as_json, predict, show
from serving.publisher import publish
from tests.server_models import ECHO_TYPES, ROOT, exporter, served, warmup_record

INPUTS: dict[str, Any] = {"x": np.array([[1.0, 2.0]], np.float32), "history/length": np.array([3], np.int64)}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("toy")
    publish(model_dir, exporter(2.0, warmup_record([[1, 2]], [3])))
    return model_dir


@pytest.fixture(scope="module")
def addresses(model_dir: Path) -> Iterator[tuple[str, str]]:
    with served(model_dir) as (_, grpc, rest):
        yield grpc, rest


@pytest.fixture(scope="module", params=["grpc", "rest"])
def client(request: pytest.FixtureRequest, addresses: tuple[str, str]) -> Iterator[Client]:
    with Client(grpc=addresses[0]) if request.param == "grpc" else Client(rest=addresses[1]) as client:
        client.over_grpc = request.param == "grpc"  # type: ignore[attr-defined]
        yield client


def test_predict(client: Client) -> None:
    answer = client.predict(INPUTS)
    np.testing.assert_array_equal(answer.outputs["y"], np.array([[2.0, 4.0]], np.float32))
    assert answer.outputs["y"].dtype == np.float32
    assert answer.outputs["twice"].dtype == np.int64
    assert answer.ms > 0
    assert answer.model_version == (1 if client.over_grpc else None)  # type: ignore[attr-defined]


def test_single_output_choice_of_outputs_and_version(client: Client) -> None:
    answer = client.predict({"x": np.array([], np.float32)}, "single", version=1)
    assert answer.outputs["y"].shape == (0,)
    assert list(client.predict(INPUTS, outputs=["twice"]).outputs) == ["twice"]


def test_every_type(client: Client) -> None:
    values: dict[str, Any] = {
        name: np.array([1], dtype.as_numpy_dtype) for name, dtype in ECHO_TYPES.items() if name != "text"
    }
    values["f32"] = np.array([0.1, np.inf, -np.inf, np.nan], np.float32)
    values["text"] = np.array([["ab", "c"]])
    outputs = client.predict(values, "echo").outputs
    for name, value in values.items():
        expected = np.array([[b"ab", b"c"]], dtype=object) if name == "text" else value
        assert outputs[f"{name}_out"].dtype == expected.dtype
        np.testing.assert_array_equal(outputs[f"{name}_out"], expected)


def test_bytes(client: Client) -> None:
    outputs = client.predict({"text": np.array([b"\xff\x00"], dtype=object)}, "words").outputs
    assert outputs["raw_bytes"].tolist() == [b"\xff\x00"]


def test_signatures(client: Client) -> None:
    signature = client.signatures()["serving_default"]
    assert signature.inputs["x"].shape == (-1, 2)
    assert signature.outputs["y"].data_type == 1
    assert client.signatures()["single"].inputs["x"].shape is None
    assert not [name for name in client.signatures() if name.startswith("__")]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ({"inputs": {**INPUTS, "history/length": np.array([-1])}}, "INVALID_ARGUMENT", "must not be negative"),
        ({"inputs": {"x": INPUTS["x"]}}, "INVALID_ARGUMENT", "history/length"),
        ({"inputs": INPUTS, "model": "q"}, "NOT_FOUND", "Latest(q)"),
        ({"inputs": INPUTS, "version": 9}, "NOT_FOUND", "Specific(twin, 9)"),
        ({"inputs": {"seconds": np.array(30.0)}, "signature": "slow", "timeout_s": 0.3}, "DEADLINE_EXCEEDED", ""),
    ],
)
def test_errors_carry_code_and_message(client: Client, arguments: dict[str, Any], code: str, text: str) -> None:
    with pytest.raises(PredictError) as raised:
        client.predict(**arguments)
    assert raised.value.code == code
    assert text in raised.value.message
    assert client.predict(INPUTS).outputs


def test_unknown_signature(client: Client) -> None:
    with pytest.raises(PredictError, match="zz"):
        client.predict(INPUTS, signature="zz")


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for client in (Client(grpc=address, timeout_s=5), Client(rest=address, timeout_s=5)):
        with client, pytest.raises(PredictError, match=address) as raised:
            client.predict(INPUTS)
        assert raised.value.code == "UNAVAILABLE"


def test_one_address_is_needed() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Client()
    with pytest.raises(ValueError, match="exactly one"):
        Client(grpc="a:1", rest="b:2")


# --- twin predict ---


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
    from serving.client import Prediction

    inputs: dict[str, Any] = {"candidate/item_id": np.array([[11, 12, 13]])}
    answer = Prediction({"pctr": np.array([[0.2, 0.9, 0.5]], np.float32)}, model_version=4, ms=1.25)
    top = as_json(inputs, answer, 2)["top"]
    assert [(row["item_id"], row["position"]) for row in top] == [(12, 1), (13, 2)]
    console = Console(record=True, width=100)
    show(inputs, answer, 2, console)
    text = console.export_text()
    assert "best of 3 candidates" in text
    assert "answered by version 4 in 1.2 ms" in text


# --- twin serve ---


def test_hot_swap_under_load_fails_no_request(tmp_path: Path) -> None:
    for factor in (1.0, 2.0, 3.0):
        exporter(factor)(tmp_path / "exported" / str(factor))
    model_dir = tmp_path / "models"

    def publish_factor(factor: float) -> None:
        source = tmp_path / "exported" / str(factor)

        def build(path: Path) -> None:
            shutil.copytree(source, path, dirs_exist_ok=True)

        publish(model_dir, build)

    publish_factor(1.0)
    wrong: list[str] = []
    seen: set[int] = set()
    stop = threading.Event()

    def load(address: dict[str, str]) -> None:
        with Client(**address) as client:  # type: ignore[arg-type]
            while not stop.is_set():
                try:
                    answer = client.predict(INPUTS)
                except PredictError as error:
                    wrong.append(str(error))
                    return
                factor = float(answer.outputs["y"][0, 0])
                if answer.model_version is not None:
                    seen.add(answer.model_version)
                    if factor != answer.model_version:
                        wrong.append(f"version {answer.model_version} answered {factor}")

    with served(model_dir) as (process, grpc, rest):
        threads = [threading.Thread(target=load, args=({"grpc": grpc},)) for _ in range(3)]
        threads.append(threading.Thread(target=load, args=({"rest": rest},)))
        for thread in threads:
            thread.start()
        for version in (2, 3):
            publish_factor(float(version))
            end = time.monotonic() + 30
            while version not in seen and not wrong and time.monotonic() < end:
                time.sleep(0.01)
        time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert seen == {1, 2, 3}
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_sigterm_finishes_what_runs(model_dir: Path) -> None:
    with served(model_dir) as (process, grpc, rest):
        answers: list[float] = []

        def ask(client: Client) -> None:
            with client:
                answers.append(float(client.predict({"seconds": np.array(2.0)}, "slow").outputs["waited"][0]))

        rest_client = Client(rest=rest)
        rest_client.predict(INPUTS)
        threads = [threading.Thread(target=ask, args=(client,)) for client in (Client(grpc=grpc), rest_client)]
        for thread in threads:
            thread.start()
        time.sleep(0.7)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with Client(grpc=grpc, timeout_s=1) as late, pytest.raises(PredictError):
            late.predict(INPUTS)
        for thread in threads:
            thread.join()
        assert len(answers) == 2
        assert process.wait(30) == 0


def _twin(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "twin.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_mistakes_of_the_command_line_exit_with_2(model_dir: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = _twin("serve", "--embedded", "--model-dir", str(model_dir), "--port", port, "--rest-port", "0")
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port} for gRPC: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr
    done = _twin("serve", "--model-dir", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "is no directory" in done.stderr
    done = _twin("serve", "--embedded", "--model-dir", str(model_dir / "1"))
    assert done.returncode == 2
    assert "is one version (it holds saved_model.pb)" in done.stderr
    assert f"the numbered versions: {model_dir}\n" in done.stderr


def test_serve_says_that_it_waits_for_a_version(tmp_path: Path) -> None:
    command = [sys.executable, "twin.py", "serve", "--embedded", "--model-dir", str(tmp_path)]
    command += ["--port", "0", "--rest-port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == f"{tmp_path} holds no version (1/, 2/, ...) yet; waiting for the first one\n"
    finally:
        process.kill()
        process.communicate()


def test_model_that_does_not_load_ends_the_server(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    done = _twin("serve", "--embedded", "--model-dir", str(tmp_path), "--port", "0", "--rest-port", "0")
    assert done.returncode == 2
    assert "Could not find SavedModel" in done.stderr


def test_predict_command(addresses: tuple[str, str], model_dir: Path) -> None:
    done = _twin("predict", "--grpc", addresses[0], "--warmup", str(model_dir), "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["outputs"]["twice"] == [6]
    assert answer["model_version"] == 1
    assert answer["latency_ms"] > 0


def test_serve_prefers_the_real_server(model_dir: Path, tmp_path: Path) -> None:
    program = tmp_path / "tensorflow_model_server"
    program.write_text('#!/bin/sh\necho "real: $@"\n')
    program.chmod(0o755)
    code = "import sys, typer; from serving.commands.serve import serve; typer.run(serve)"
    command = [sys.executable, "-c", code, "--model-dir", str(model_dir), "--port", "9000", "--rest-port", "9001"]
    done = subprocess.run(
        command, cwd=ROOT, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert f"server: {program}" in done.stdout
    assert f"real: --port=9000 --rest_api_port=9001 --model_name=twin --model_base_path={model_dir}" in done.stdout
