"""`twin doctor`: what it finds, and what it says about it."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import machine_checks

ROOT = Path(__file__).resolve().parent.parent


def test_the_report_is_whole_and_its_exit_code_follows_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twin", "doctor", "--json", "--run-root", str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    report = json.loads(done.stdout.splitlines()[-1])
    names = {check["name"] for check in report["checks"]}
    assert {"python", "tfx", "dill", "pip", "Keras", "free memory", "cores", "gRPC port"} <= names
    assert done.returncode == (1 if report["problems"] else 0)
    for check in report["checks"]:
        assert check["status"] in ("ok", "warning", "problem")
        assert check["status"] == "ok" or check["advice"], check


def test_keras_3_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "0")
    check = machine_checks.check_keras()
    assert check.status == "problem"
    assert "expected Keras 2" in check.found


def test_other_versions_than_the_locks_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "dev.lock"
    lock.write_text(
        "rich==0.0.1 \\\n    --hash=sha256:00\nno-such-package==1.0\nelsewhere==1 ; sys_platform == 'win32'\n"
    )
    check = machine_checks.check_lock(lock)
    assert check.status == "warning"
    assert "rich" in check.found
    assert "instead of 0.0.1" in check.found
    assert "no-such-package missing" in check.found
    assert "elsewhere" not in check.found
    assert machine_checks.check_lock(tmp_path / "none").status == "ok"


def test_little_memory_is_a_warning() -> None:
    check = machine_checks.check_memory(lambda: "MemTotal: 9 kB\nMemAvailable:    1953125 kB\n")
    assert (check.status, check.found) == ("warning", "2.0 GB")
    assert machine_checks.check_memory(lambda: "MemAvailable: 9765625 kB").status == "ok"


def test_a_port_in_use_is_a_warning() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert machine_checks.check_port("gRPC port", port).status == "warning"
    assert machine_checks.check_port("gRPC port", port).status == "ok"


def test_a_folder_to_be_made_counts_as_its_parent(tmp_path: Path) -> None:
    assert machine_checks.check_writable("run folder", tmp_path / "a" / "b").status == "ok"
    assert machine_checks.check_writable("run folder", Path("/proc/x")).status == "problem"
    assert not (tmp_path / "a").exists()


def test_the_real_server_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "tensorflow_model_server"
    shutil.copy("/bin/true", server)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert machine_checks.check_server().found == str(server)
