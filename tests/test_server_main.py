"""The server under TF Serving's flags, as a process."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from serving.client import Client
from serving.publisher import publish
from tests.server_models import ROOT, exporter

COMMAND = [sys.executable, "-m", "serving.server.main"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _refused(*flags: str) -> str:
    done = subprocess.run([*COMMAND, *flags], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_serves_until_sigterm(tmp_path: Path) -> None:
    publish(tmp_path, exporter(2.0))
    flags = {
        "port": _free_port(),
        "rest_api_port": _free_port(),
        "model_name": "toy",
        "model_base_path": tmp_path,
        "file_system_poll_wait_seconds": 0.1,
        "max_num_load_retries": 0,
        "load_retry_interval_micros": 1000,
        "enable_model_warmup": "false",
        "num_request_iterations_for_warmup": 1,
        "grpc_max_threads": 2,
        "rest_api_num_threads": 2,
        "rest_api_timeout_in_ms": 5000,
        "max_request_bytes": 1_000_000,
        "tensorflow_intra_op_parallelism": 1,
        "tensorflow_inter_op_parallelism": 1,
    }
    command = [*COMMAND, *(f"--{name}={value}" for name, value in flags.items())]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        address = next(found[1] for line in process.stderr if (found := re.match(r"Exporting .* at:(\S+) ", line)))
        with Client(rest=address) as client:
            answer = client.predict({"x": np.array([1.5], np.float32)}, "single", model="toy")
        assert answer.outputs["y"].tolist() == [3.0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def test_mistakes_in_the_flags_exit_with_2(tmp_path: Path) -> None:
    assert "--model_base_path is needed" in _refused("--port=0")
    assert "expected 1 to 2147483647 bytes, got '0'" in _refused("--max_request_bytes=0")
    publish(tmp_path, lambda path: (path / "saved_model.pb").touch())
    assert f"the numbered versions: {tmp_path}" in _refused(f"--model_base_path={tmp_path / '1'}")
