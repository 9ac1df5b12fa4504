"""The steps of the demo: what they give, and how they say that they failed."""

import json
import socket
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from model.config import TwinConfig
from pipelines import demo_steps
from pipelines.demo_steps import StepError, free_ports, measure, server


def test_the_demos_configuration_is_valid() -> None:
    assert TwinConfig.load(Path(demo_steps.__file__).parent / "demo.yaml") != TwinConfig()


def test_measure_gives_the_json_and_prints_one_line(tmp_path: Path) -> None:
    with (tmp_path / "screen").open("w") as screen:
        arguments = ["simulate", str(tmp_path / "data"), "--users", "3", "--events-per-user", "40", "--items", "50"]
        report = measure(Console(file=screen), "Simulated", arguments, tmp_path / "log")
    assert report["users"] == 3
    lines = (tmp_path / "screen").read_text().splitlines()
    assert len(lines) == 1
    assert "Simulated" in lines[0]
    assert json.loads((tmp_path / "data" / "dataset.json").read_text())["schema"] == "simulated"


def test_a_failed_command_is_told_with_its_message_and_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(StepError, match=r"Simulated: .*users must be at least 1, got 0") as caught:
        measure(Console(), "Simulated", ["simulate", str(tmp_path / "data"), "--users", "0"], log)
    assert str(log) in str(caught.value)


def test_a_server_that_ends_early_is_told_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(StepError, match="twin serve ended") as caught, server(tmp_path / "none", free_ports(), log):
        pass
    assert str(log) in str(caught.value)


def test_ports_are_free_and_differ() -> None:
    first, second = free_ports()
    assert first != second
    for port in (first, second):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_nothing_keeps_running(tmp_path: Path) -> None:
    children = psutil.Process().children
    before = len(children(recursive=True))
    with pytest.raises(StepError), server(tmp_path / "none", free_ports(), tmp_path / "log"):
        pass
    deadline = time.monotonic() + 10
    while len(children(recursive=True)) > before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
