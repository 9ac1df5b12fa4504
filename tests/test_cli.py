"""The `twin` program: what it lists, how it explains itself, and how it ends."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import twin
from pipelines.commands.demo import _rows

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


@pytest.mark.parametrize(("feed", "schema"), [("recurring", "simulated"), ("fresh", "fresh_feed")])
def test_simulate_writes_the_feed_asked_for(
    feed: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--users", "3", "--events-per-user", "50", "--items", "100", "--feed", feed, "--json"]
    assert not in_process(["simulate", str(tmp_path / "data"), *sizes], monkeypatch)
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    about = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert about["schema"] == schema and about["simulation"]["feed"] == feed
    assert report["events"] == 125 and 0 <= report["met_before"] < 1


def test_an_unknown_feed_is_told(tmp_path: Path) -> None:
    done = call("simulate", str(tmp_path / "data"), "--feed", "stale")
    assert done.returncode == 2
    assert "feed must be one of recurring, fresh, got 'stale'" in done.stderr


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


BORDERS = {"train_start_ms": 1, "eval_start_ms": 2, "test_start_ms": 3, "end_ms": 4}


@pytest.mark.parametrize(
    ("dataset", "config", "told"),
    [
        ({"schema": "simulated", "split": BORDERS}, "hedas: 4\n", "config.yaml: hedas"),
        ({"schema": "simulated", "split": BORDERS}, "heads: 0\n", "config.yaml: heads"),
        ({"schema": "simulated", "split": {"end_ms": 4}}, "", "dataset.json: expected 'split' with the integers"),
        ({"schema": "simulated", "split": BORDERS | {"end_ms": 0}}, "", "dataset.json: expected the split's borders"),
        ({"schema": "no-such", "split": BORDERS}, "", "no schema folder 'no-such'"),
    ],
)
def test_mistakes_in_small_files_are_told_before_the_pipeline_starts(
    dataset: dict[str, object],
    config: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    (tmp_path / "config.yaml").write_text(config)
    options = ["--data", str(tmp_path), "--config", str(tmp_path / "config.yaml"), "--run-dir", str(tmp_path / "run")]
    assert in_process(["run", *options], monkeypatch) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_schema_folder_brings_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = tmp_path / "mine"
    shutil.copytree(ROOT / "schemas" / "simulated", schema)
    (schema / "config.yaml").write_text("heads: 0\n")
    (tmp_path / "dataset.json").write_text(json.dumps({"schema": str(schema), "split": BORDERS}))
    assert in_process(["run", "--data", str(tmp_path)], monkeypatch) == 2
    assert f"{schema / 'config.yaml'}: heads" in capsys.readouterr().err
    (tmp_path / "mine.yaml").write_text("heads: -1\n")
    assert in_process(["run", "--data", str(tmp_path), "--config", str(tmp_path / "mine.yaml")], monkeypatch) == 2
    assert f"{tmp_path / 'mine.yaml'}: heads" in capsys.readouterr().err


def test_an_unknown_model_is_told_before_the_pipeline_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"schema": "simulated", "split": BORDERS}))
    assert in_process(["run", "--data", str(tmp_path), "--model", "twin-v3"], monkeypatch) == 2
    assert "no model 'twin-v3'; there are twin, " in capsys.readouterr().err


def demo_report(**more: object) -> dict[str, object]:
    figures = {"auc": 0.7, "gauc": 0.6}
    counts = {"candidates": 8, "history": 900, "hit_at_100": 95.0, "table_rows": 50, "table_coverage": 1.0}
    costs = {"grpc_p50_ms": 3.0, "rest_p50_ms": 4.0, "seconds": 60.0, "peak_rss_gb": 2.0}
    models = {"version": 2, "served_version": 2, "not_pushed_because": None}
    return {"test": figures, "oracle": figures, **counts, **costs, **models, **more}


@pytest.mark.parametrize(
    ("versions", "model", "trained", "served"),
    [
        ({}, "version 2, the model of this run", "", ""),
        (
            {"version": None, "served_version": 1, "not_pushed_because": "too bad"},
            "version 1, an earlier model; the new one was not pushed: too bad",
            ", new model (not served)",
            ", version 1",
        ),
        (
            {"served_version": 3},
            "version 3, published after version 2, the model of this run",
            ", version 2 (not served)",
            ", version 3",
        ),
    ],
)
def test_the_demos_summary_says_whose_figure_is_whose(
    versions: dict[str, object], model: str, trained: str, served: str
) -> None:
    rows = _rows(demo_report(**versions), Path("runs/demo"))
    assert rows["Model served"] == model
    for name in ("AUC on later events", "GAUC", "Item table"):
        assert name + trained in rows
    for name in ("Latency p50 by gRPC", "Latency p50 by REST"):
        assert name + served in rows


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
