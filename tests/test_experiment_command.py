"""What `twin experiment` shows where there is no terminal."""

import io

import pytest
from rich.console import Console

from pipelines.commands import experiment
from pipelines.commands.experiment import _Lines


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the clock, in seconds, as its one value."""
    time = [0.0]
    monkeypatch.setattr(experiment.time, "monotonic", lambda: time[0])
    return time


def test_a_log_tells_what_is_done_and_how_long_it_takes(now: list[float]) -> None:
    log = io.StringIO()
    lines = _Lines(Console(file=log), "overall")
    lines.expect(3)
    now[0] = 50.0  # of preparing, which says nothing of the trainings
    for name in ("twin", "eta"):
        lines.start(name)
        lines.within(0.5, name)
        now[0] += 90.0
        lines.done()
    lines.expect(-1)
    assert log.getvalue().splitlines() == [
        "overall: preparing the data",
        "1/3 twin",
        "1/3 done: twin took 90 s, about 3 min left",
        "2/3 eta",
        "2/3 done: eta took 90 s, about 2 min left",
    ]


def test_a_log_tells_how_far_a_long_training_is(now: list[float]) -> None:
    log = io.StringIO()
    lines = _Lines(Console(file=log), "overall")
    lines.expect(1)
    now[0] = 90.0
    lines.within(0, "nothing done yet, of which nothing can be told")
    lines.start("sim_soft")
    for stage in ("pre-training", "training"):
        for step in range(1, 11):
            now[0] += 30.0
            lines.within(step / 10, f"{stage}, loss 0.{step:02}")
    assert log.getvalue().splitlines() == [
        "overall: preparing the data",
        "1/1 sim_soft",
        "pre-training, loss 0.02: 20%, about 4 min left of it",
        "pre-training, loss 0.04: 40%, about 3 min left of it",
        "pre-training, loss 0.06: 60%, about 2 min left of it",
        "pre-training, loss 0.08: 80%, about 1 min left of it",
        "pre-training, loss 0.10: 100%, about 0 min left of it",
        "training, loss 0.02: 20%, about 2 min left of it",
        "training, loss 0.04: 40%, about 3 min left of it",
        "training, loss 0.06: 60%, about 2 min left of it",
        "training, loss 0.08: 80%, about 1 min left of it",
        "training, loss 0.10: 100%, about 0 min left of it",
    ]
