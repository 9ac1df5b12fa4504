"""The `twin` program: what it lists, how it explains itself, and how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import twin

ROOT = Path(__file__).resolve().parent.parent
BENCH = [["bench", name] for name in twin.BENCH_COMMANDS]
COMMANDS = [[name] for name in twin.COMMANDS]


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twin", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **environment},
        check=False,
    )


def in_process(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["twin", *arguments])
    with pytest.raises(SystemExit) as exit_:
        twin.main()
    return exit_.value.code


def test_help_lists_every_command() -> None:
    done = call("--help")
    assert done.returncode == 0, done.stderr
    for name in twin.COMMANDS:
        assert f" {name} " in done.stdout, name


@pytest.mark.parametrize("command", COMMANDS + BENCH, ids=" ".join)
def test_each_command_explains_itself(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_process([*command, "--help"], monkeypatch) == 0
    text = capsys.readouterr().out
    assert "Usage: twin " + " ".join(command) in text
    assert len(text.splitlines()) > 8


def test_help_of_all_commands_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['twin', '--help']; import twin\n"
        "try:\n    twin.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'tensorflow', 'apache_beam', 'tfx', 'grpc', 'numpy', 'pyarrow', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_typing_error_is_answered_with_the_nearest_command() -> None:
    done = call("simulat")
    assert done.returncode == 2
    assert "simulate" in done.stderr


def test_a_users_mistake_exits_with_2_and_no_traceback() -> None:
    done = call("run", "--data", "/nowhere/at/all")
    assert done.returncode == 2
    assert "/nowhere/at/all" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_missing_schema_is_named_with_what_to_do(tmp_path: Path) -> None:
    done = call("run", "--data", str(tmp_path))
    assert done.returncode == 2
    assert "--schema" in done.stderr
    (tmp_path / "dataset.json").write_text("[]")
    done = call("run", "--data", str(tmp_path))
    assert done.returncode == 2
    assert "dataset.json" in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 130, ""),
        (
            OSError("disk\non fire"),
            1,
            "twin: unexpected failure: OSError: disk on fire (TWIN_TRACEBACK=1 shows where)\n",
        ),
        (ModuleNotFoundError("No module named 'apache_beam'"), 1, "twin: No module named 'apache_beam'; `twin doctor`"),
    ],
)
def test_other_ends(
    error: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import pipelines.commands.doctor as command

    def doctor() -> None:
        raise error

    monkeypatch.setattr(command, "doctor", doctor)
    monkeypatch.delenv("TWIN_TRACEBACK", raising=False)
    assert in_process(["doctor"], monkeypatch) == code
    assert capsys.readouterr().err.startswith(text)
    monkeypatch.setenv("TWIN_TRACEBACK", "1")
    in_process(["doctor"], monkeypatch)
    if code == 1:
        assert "Traceback" in capsys.readouterr().err
