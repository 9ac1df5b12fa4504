"""The child process of a run: its progress on screen, its failures in plain words, its end on an interrupt."""

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from pipelines.progress_display import ProgressReader
from pipelines.runner_process import (
    PipelineError,
    PipelineInputError,
    RunRequest,
    last_error_lines,
    run_pipeline,
)

PREAMBLE = """
import json, sys, time
from pathlib import Path
run_dir = Path(sys.argv[1])
def event(component, event, **more):
    with (run_dir / "progress.jsonl").open("a") as file:
        file.write(json.dumps({"time": time.time(), "component": component, "event": event, **more}) + "\\n")
"""


class ScriptedRun(RunRequest):
    """A run whose child is a script given in the test instead of the TFX pipeline."""

    script = ""

    def command(self) -> list[str]:
        return [sys.executable, "-c", PREAMBLE + textwrap.dedent(self.script), str(self.run_dir)]


def scripted(run_dir: Path, script: str) -> RunRequest:
    return type("Run", (ScriptedRun,), {"script": script})(run_dir, run_dir, "simulated")


def run_script(run_dir: Path, script: str, terminal: bool = False) -> tuple[dict[str, object], str]:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=120)
    return run_pipeline(scripted(run_dir, script), console), screen.getvalue()


GOOD = """
event("Trainer", "started")
event("Trainer", "progress", done=50, total=200)
event("Trainer", "finished")
event("Pusher", "cached")
print("chatter")
(run_dir / "summary.json").write_text('{"metrics": {"auc": 0.75}}')
"""


def test_returns_the_summary_and_shows_each_step(tmp_path: Path) -> None:
    summary, screen = run_script(tmp_path, GOOD)
    assert summary == {"metrics": {"auc": 0.75}}
    lines = [" ".join(line.split()[2:]) for line in screen.splitlines()]
    assert lines[0] == "Starting TFX started"
    assert lines[1].startswith("Starting TFX finished after")
    assert lines[2] == "Trainer started"
    assert lines[-2].startswith("Trainer finished after")
    assert lines[-1] == "Pusher cached"
    assert "chatter" not in screen
    assert (tmp_path / "logs" / "tfx.log").read_text() == "chatter\n"


def test_the_live_display_shows_counts_and_marks(tmp_path: Path) -> None:
    _, screen = run_script(tmp_path, GOOD, terminal=True)
    assert "Trainer" in screen
    assert "50/200" in screen
    assert "already done" in screen
    assert screen.count("✓") >= 2


def test_a_users_mistake_is_told_in_the_childs_own_words(tmp_path: Path) -> None:
    script = """
    event("ExampleGen", "failed", user_error=True, message="events.csv: no column 'click'")
    sys.exit(2)
    """
    with pytest.raises(PipelineInputError, match=r"events\.csv: no column 'click'"):
        run_script(tmp_path, script)


def test_a_failure_names_the_last_error_line_and_the_log(tmp_path: Path) -> None:
    script = """
    event("Trainer", "started")
    raise ValueError("the loss is NaN at step 7")
    """
    with pytest.raises(PipelineError) as caught:
        run_script(tmp_path, script)
    assert "ValueError: the loss is NaN at step 7" in str(caught.value)
    assert str(tmp_path / "logs" / "tfx.log") in str(caught.value)


def test_a_kill_by_the_kernel_is_told_as_want_of_memory(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="want of memory"):
        run_script(tmp_path, "import os; os.kill(os.getpid(), 9)")


def test_an_old_summary_is_not_taken_for_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"metrics": {"auc": 0.99}}')
    with pytest.raises(PipelineError, match=r"summary\.json"):
        run_script(tmp_path, "pass")


def test_a_run_directory_in_use_is_refused(tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PipelineInputError, match="in use by another run"):
            run_script(tmp_path, GOOD)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_child_and_its_children(tmp_path: Path, sign: signal.Signals) -> None:
    # The grandchild ignores SIGINT, as Beam's workers do while they are busy.
    parent = f"""
    import signal, sys
    from pathlib import Path
    from rich.console import Console
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from test_runner_process import scripted
    from pipelines.runner_process import run_pipeline
    # Started by a shell in the background, the tests and all below them would ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_pipeline(scripted(Path({str(tmp_path)!r}), '''
    import os, signal, subprocess
    child = subprocess.Popen([sys.executable, "-c",
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"])
    (run_dir / "pids.tmp").write_text(f"{{os.getpid()}} {{child.pid}}")
    (run_dir / "pids.tmp").rename(run_dir / "pids")
    time.sleep(60)
    '''), Console())
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(parent)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: (tmp_path / "pids").exists())
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        process.send_signal(sign)
        process.wait(30)
        assert process.returncode != 0
        wait_for(lambda: not any(alive(pid) for pid in pids))
    finally:
        process.kill()


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: object, seconds: float = 30) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_the_reader_gives_each_event_once_and_waits_for_whole_lines(tmp_path: Path) -> None:
    file = tmp_path / "progress.jsonl"
    reader = ProgressReader(file)
    assert reader.read() == []
    first = {"component": "A", "event": "started"}
    second = {"component": "A", "event": "finished"}
    file.write_text(json.dumps(first) + "\n" + json.dumps(second)[:9])
    assert reader.read() == [first]
    with file.open("a") as out:
        out.write(json.dumps(second)[9:] + "\nnot json\n[1]\n")
    assert reader.read() == [second]
    assert reader.read() == []
    file.write_text(json.dumps(second) + "\n")  # written anew, and shorter
    assert reader.read() == [second]


def test_last_error_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("INFO: a\nValueError: first\nINFO: b\ntfx.types.BadError: the real one\nsome info\n")
    assert last_error_lines(log) == ["tfx.types.BadError: the real one"]
    log.write_text("one\ntwo\n\nthree\nfour\n")
    assert last_error_lines(log) == ["two", "three", "four"]


def test_the_childs_command_line() -> None:
    request = RunRequest(Path("r"), Path("d"), "s", Path("c.yaml"), ("--runner=X",), "twin-v2")
    assert request.command()[1:] == [
        *("-m", "pipelines.tfx.local_runner", "--run-dir", "r", "--data", "d", "--schema", "s"),
        *("--config", "c.yaml", "--model", "twin-v2", "--", "--runner=X"),
    ]
    assert os.path.basename(request.command()[0]).startswith("python")
