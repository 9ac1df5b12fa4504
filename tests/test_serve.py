"""`twin serve`: swaps versions under load, stops gracefully, and tells mistakes."""

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.client import Client, PredictError
from serving.publisher import publish
from tests.server_models import ROOT, export_waiter, exporter, served
from tests.waiting import until

INPUTS: dict[str, Any] = {"x": np.array([[1.0, 2.0]], np.float32), "history/length": np.array([3], np.int64)}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("toy")
    publish(model_dir, exporter(2.0))
    return model_dir


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
            end = time.monotonic() + 60
            while version not in seen and not wrong and time.monotonic() < end:
                time.sleep(0.01)
        time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert seen == {1, 2, 3}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_sigterm_finishes_what_runs(tmp_path: Path) -> None:
    publish(tmp_path / "models", export_waiter)
    with served(tmp_path / "models") as (process, grpc, rest):
        answers: list[float] = []
        go = tmp_path / "go"

        def ask(client: Client, began: Path) -> None:
            files = {"began": np.array(str(began)), "go": np.array(str(go))}
            with client:
                inputs = {"x": np.array([1.0], np.float32), **files}
                answers.append(float(client.predict(inputs, "wait", timeout_s=120).outputs["y"][0]))

        calls = [(Client(grpc=grpc), tmp_path / "grpc"), (Client(rest=rest), tmp_path / "rest")]
        threads = [threading.Thread(target=ask, args=call) for call in calls]
        for thread in threads:
            thread.start()
        until(lambda: all(began.exists() for _, began in calls))
        process.send_signal(signal.SIGTERM)
        until(lambda: _is_refused(grpc))
        assert answers == []
        go.touch()
        for thread in threads:
            thread.join()
        assert answers == [2.0, 2.0]
        assert process.wait(60) == 0


def _is_refused(grpc: str) -> bool:
    with Client(grpc=grpc) as late:
        try:
            late.predict({"x": np.array([1.0], np.float32)})
        except PredictError as error:
            return error.code == "UNAVAILABLE"
    return False


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
