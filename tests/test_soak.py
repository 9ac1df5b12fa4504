"""Every scenario of `twin soak`, some seconds each: what must hold on any machine, however busy, is demanded here."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import serving  # noqa: F401  # sets the environment that TensorFlow reads
from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions, single_model
from serving.soak import clients
from serving.soak.model import NAME as MODEL
from serving.soak.model import VERSION_OUTPUT, example_request, stamp, write_model
from serving.soak.mutations import Mutations
from serving.soak.outcome import Outcome
from serving.soak.runner import NAMES, Plan, ScenarioError, parse_names, run_scenarios
from serving.soak.swap import Swaps

ROOT = Path(__file__).resolve().parent.parent


# `sigterm` is what the command is tried with.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "sigterm"])
def test_promises(name: str, tmp_path: Path) -> None:
    plan = Plan((name,), None, Swaps(3.0, 1.0, 3), 2.0, 500, 1, deadline_rounds=1, kills=1)
    (outcome,) = run_scenarios(plan, tmp_path, lambda text, left: None)
    assert outcome.scenario == name
    broken = [check for check in outcome.checks if not (check.passed or check.depends_on_speed)]
    assert not broken, outcome.figures
    assert sum(not check.depends_on_speed for check in outcome.checks) >= 3


def test_a_wrong_answer_is_seen(tmp_path: Path) -> None:
    write_model(tmp_path / "made", 1)
    stamp(tmp_path / "made", tmp_path / "model" / "3", 4)
    request = example_request(2)
    server = ModelServer(ServerOptions((single_model(MODEL, str(tmp_path / "model")),), grpc_port=0))
    server.start()
    try:
        address = f"127.0.0.1:{server.grpc_port}"
        expected = clients.first_answer(address, request)
        with clients.Clients(address, request, expected, 1) as asking:
            while not asking.answers:
                time.sleep(0.01)
    finally:
        server.stop()
    # Directory 3 holds a graph that says 4.
    assert {(answer.outcome, answer.version) for answer in asking.answers} == {(clients.WRONG, 4)}
    assert VERSION_OUTPUT not in expected
    assert not clients.same(expected, {name: value + 1 for name, value in expected.items()})
    assert not clients.same({}, expected)


def test_figures_of_answers() -> None:
    seconds = np.arange(1, 102) / 1000
    answers = [clients.Answer(10.0, value, clients.OK, 1) for value in seconds]
    answers.append(clients.Answer(10.0, 9.0, "RESOURCE_EXHAUSTED", 0))
    assert clients.p_ms(answers, 50) == pytest.approx(51)
    assert clients.p_ms(answers, 99) == pytest.approx(100)
    assert clients.per_second(answers, 10.0, 10.0505) == pytest.approx(50 / 0.0505)


def test_a_broken_promise_is_a_failure() -> None:
    outcome = Outcome("swap")
    outcome.exactly("kept", 0, 0)
    assert outcome.passed
    outcome.at_most("slow", 2.1, 2.0, depends_on_speed=True)
    assert not outcome.passed
    assert [check.limit for check in outcome.checks] == ["0", "<= 2"]


def test_the_same_seed_gives_the_same_requests() -> None:
    def some(seed: int) -> list[Any]:
        mutations = Mutations(example_request(2), seed)
        return [repr(mutations.next()) for _ in range(50)]

    assert some(1) == some(1) != some(2)


def test_names() -> None:
    assert parse_names("") == NAMES
    assert parse_names("fuzz, swap") == ("swap", "fuzz")
    with pytest.raises(ScenarioError, match="got nothing"):
        parse_names("swap,nothing")


def test_the_command_gives_json_and_an_exit_code() -> None:
    command = [sys.executable, "-m", "twin", "soak", "--only", "sigterm", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["passed"] is True
    assert [check["promise"] for check in report["scenarios"]["sigterm"]["checks"]] == [
        "calls that ran and were finished",
        "calls taken after the first refusal",
        "calls still running at the first refusal",
        "exit code",
    ]
