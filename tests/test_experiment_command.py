"""What `twin experiment` shows where there is no terminal."""

import io

import pytest
from rich.console import Console

from pipelines.commands import experiment
from pipelines.commands.experiment import _Lines


def test_a_log_tells_what_is_done_and_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(experiment.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    lines = _Lines(Console(file=log), "overall")
    lines.expect(3)
    now[0] = 50.0  # of preparing, which says nothing of the trainings
    for name in ("twin", "eta"):
        lines.start(name)
        now[0] += 90.0
        lines.within(0.5, name)
        lines.done()
    lines.expect(-1)
    assert log.getvalue().splitlines() == [
        "overall: preparing the data",
        "1/3 twin",
        "1/3 done: twin took 90 s, about 3 min left",
        "2/3 eta",
        "2/3 done: eta took 90 s, about 2 min left",
    ]
