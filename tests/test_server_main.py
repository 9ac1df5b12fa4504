"""The server under TF Serving's flags, as a process."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.client import Client
from serving.publisher import publish
from serving.serve import free_port
from serving.server.main import main
from serving.tensors import decode, encode
from tests.server_models import ROOT, export_waiter, exporter
from tests.waiting import until

COMMAND = [sys.executable, "-m", "serving.server.main"]


@contextmanager
def _started(flags: dict[str, object], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A server that answers requests."""
    command = [*COMMAND, *(f"--{name}={value}" for name, value in flags.items())]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert any(re.match(r"Exporting HTTP/REST API at:\S+ \.\.\.", line) for line in process.stderr)
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield process
    finally:
        process.kill()
        process.wait()


def _request(signature: str, **inputs: Any) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "toy", signature
    for name, value in inputs.items():
        dtype = object if isinstance(value, str) else np.float64 if name == "seconds" else np.float32
        request.inputs[name].CopyFrom(encode(np.array(value, dtype)))
    return request


def _predict(port: int) -> float:
    """Asks on a connection of its own."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return float(decode(stub.Predict(_request("single", x=1.5), timeout=60).outputs["y"]))


def _post(port: int, body: dict[str, object]) -> dict[str, object]:
    with urlopen(f"http://127.0.0.1:{port}/v1/models/toy:predict", json.dumps(body).encode(), timeout=60) as answer:
        return dict(json.load(answer))


def _write_config(file: Path, model_dir: Path, labels: str = "") -> None:
    model = f'name: "toy" base_path: "{model_dir}" model_platform: "tensorflow" {labels}'
    temporary = file.with_suffix(".tmp")
    temporary.write_text(f"model_config_list {{ config {{ {model} }} }}")
    temporary.rename(file)


def test_sigterm_finishes_what_runs_and_takes_no_more(tmp_path: Path) -> None:
    model_dir, files = tmp_path / "toy", [tmp_path / name for name in ("grpc", "rest", "go")]
    publish(model_dir, export_waiter)
    flags = {
        "port": free_port(),
        "rest_api_port": free_port(),
        "model_name": "toy",
        "model_base_path": model_dir,
        "file_system_poll_wait_seconds": 0.1,
        "max_num_load_retries": 0,
        "load_retry_interval_micros": 1000,
        "num_load_threads": 2,
        "enable_model_warmup": "false",
        "num_request_iterations_for_warmup": 1,
        "grpc_max_threads": 4,
        "grpc_channel_arguments": "grpc.keepalive_time_ms=60000,grpc.primary_user_agent=toy",
        "rest_api_num_threads": 4,
        "rest_api_timeout_in_ms": 600_000,
        "max_request_bytes": 1_000_000,
        "tensorflow_session_parallelism": 4,
        "enable_grpc_healthcheck_service": "true",
        "rest_api_enable_cors_support": "true",
        "enable_signature_method_name_check": "false",
        "allow_version_labels_for_unavailable_models": "true",
    }
    port, rest_port = int(str(flags["port"])), int(str(flags["rest_api_port"]))
    with _started(flags) as process, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with Client(rest=f"127.0.0.1:{rest_port}") as client:
            answer = client.predict({"x": np.array([1.5], np.float32)}, model="toy")
        assert answer.outputs["y"].tolist() == [3.0]
        posted: list[dict[str, object]] = []
        over_grpc, over_rest, go = map(str, files)
        body: dict[str, object] = {"signature_name": "wait", "inputs": {"x": [1.0], "began": over_rest, "go": go}}
        posting = threading.Thread(target=lambda: posted.append(_post(rest_port, body)))
        posting.start()
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        running = stub.Predict.future(_request("wait", x=[1.0], began=over_grpc, go=go))
        until(lambda: files[0].exists() and files[1].exists())
        process.send_signal(signal.SIGTERM)
        until(lambda: _refuses(port))
        assert not running.done() and posting.is_alive()
        files[2].touch()
        assert decode(running.result(60).outputs["y"]).tolist() == [2.0]
        posting.join(60)
        assert posted == [{"outputs": [2.0]}]
        assert process.wait(60) == 0


def _refuses(port: int) -> bool:
    try:
        _predict(port)
    except grpc.RpcError as error:
        return bool(error.code() is grpc.StatusCode.UNAVAILABLE)
    return False


def test_killed_and_started_again_it_serves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    model_dir, scratch, config = tmp_path / "toy", tmp_path / "scratch", tmp_path / "models.config"
    scratch.mkdir()
    publish(model_dir, exporter(2.0))
    _write_config(config, model_dir)
    flags: dict[str, object] = {
        "port": free_port(),
        "rest_api_port": free_port(),
        "model_config_file": config,
        "model_config_file_poll_wait_seconds": 0.1,
    }
    port, rest_port = int(str(flags["port"])), int(str(flags["rest_api_port"]))
    before = sorted(tmp_path.rglob("*"))
    with _started(flags, TMPDIR=str(scratch)) as process, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert _predict(port) == 3.0
        running = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict.future(
            _request("slow", seconds=60.0)
        )
        time.sleep(0.5)
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
        assert running.code() is grpc.StatusCode.UNAVAILABLE
    assert sorted(tmp_path.rglob("*")) == before
    with _started(flags, TMPDIR=str(scratch)) as process:
        assert _predict(port) == 3.0
        assert _post(rest_port, {"signature_name": "single", "instances": [1.5]}) == {"predictions": [3.0]}
        _write_config(config, model_dir, 'version_labels { key: "stable" value: 1 }')
        label = f"http://127.0.0.1:{rest_port}/v1/models/toy/labels/stable/metadata"
        until(lambda: _ok(label))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert sorted(tmp_path.rglob("*")) == before


def _ok(address: str) -> bool:
    try:
        with urlopen(address, timeout=60) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _refused(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    try:
        code = main(flags)
    except SystemExit as ended:
        code = ended.code  # type: ignore[assignment]
    assert code == 2
    return capsys.readouterr().err


def test_mistakes_in_the_flags_exit_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--model_base_path or --model_config_file is needed" in _refused(capsys, "--port=0")
    assert "expected 1 to 2147483647 bytes, got '0'" in _refused(capsys, "--max_request_bytes=0")
    assert "expected seconds, 0 to 2147483647, got '-1'" in _refused(capsys, "--file_system_poll_wait_seconds=-1")
    assert "expected 0 to 65535, got '99999'" in _refused(capsys, "--port=99999")
    assert "expected 0 to 65535, got '-1'" in _refused(capsys, "--rest_api_port=-1")
    for name in ("grpc_max_threads", "rest_api_num_threads", "tensorflow_intra_op_parallelism"):
        assert f"--{name}: expected 0 to 2147483647, got '-1'" in _refused(capsys, f"--{name}=-1")
    assert "a number of 32 bits after a=, got '3000000000'" in _refused(capsys, "--grpc_channel_arguments=a=3000000000")
    assert "--port or --rest_api_port is needed" in _refused(capsys, "--port=0", "--model_base_path=/m")
    (tmp_path / "loop").symlink_to("loop")
    assert "Too many levels of symbolic links" in _refused(capsys, f"--model_base_path={tmp_path / 'loop'}")
    assert "--model_name must not be empty" in _refused(capsys, "--model_base_path=/m", "--model_name=")
    assert "expected true or false, got 'yes'" in _refused(capsys, "--enable_batching=yes")
    assert "unrecognized arguments: --rest_api_por=1" in _refused(capsys, "--rest_api_por=1")
    assert "expected name=value,name=value, got 'a'" in _refused(capsys, "--grpc_channel_arguments=a")
    parallelism = [f"--tensorflow_{kind}_parallelism=1" for kind in ("session", "intra_op", "inter_op")]
    assert "not all three" in _refused(capsys, "--model_base_path=/m", *parallelism)
    publish(tmp_path, lambda path: (path / "saved_model.pb").touch())
    assert f"the numbered versions: {tmp_path}" in _refused(capsys, f"--model_base_path={tmp_path / '1'}")
    config = tmp_path / "models.config"
    assert f"{config}: No such file or directory" in _refused(capsys, f"--model_config_file={config}")
    config.write_text("model_config_list {\n  confg {}\n}\n")
    assert f"{config}:2:3: " in _refused(capsys, f"--model_config_file={config}")


def test_what_the_models_do_not_allow_ends_with_255(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model_name=toy", "--model_base_path=models/toy"]) == 255
    assert "INVALID_ARGUMENT: Expected model toy to have an absolute path or URI; got base_path()=models/toy" in (
        capsys.readouterr().err
    )
    config = tmp_path / "models.config"
    _write_config(config, tmp_path / "toy", 'version_labels { key: "stable" value: 1 }')
    assert main([f"--model_config_file={config}"]) == 255
    assert (
        "Failed to start server. Error: FAILED_PRECONDITION: Request to assign label to version 1 of model toy, which "
        "is not currently available for inference"
    ) in capsys.readouterr().err
