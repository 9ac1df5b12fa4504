"""Real data through the whole pipeline: train on votes of sessions below 66, test on 66 and later."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from model.config import TwinConfig

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT.parent / "shared" / "data" / "un_votes"
# A part of the shipped run: three sessions of training targets, and the last 1,500 votes as history.
TRAIN_FROM_SESSION = "62"
HISTORY_LENGTH = 1500


def twin(*arguments: str | Path) -> dict:
    command = [sys.executable, "-m", "twin", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not SOURCE.is_dir(), reason=f"SKIPPED: no UN votes at {SOURCE}")
def test_votes_from_raw_tables_to_a_pushed_model(tmp_path: Path) -> None:
    data = tmp_path / "data"
    twin("import", "un_votes", SOURCE, data, "--train-from-session", TRAIN_FROM_SESSION)
    shipped = TwinConfig.load(ROOT / "schemas" / "un_votes" / "config.yaml")
    config = tmp_path / "config.yaml"
    config.write_text(dataclasses.replace(shipped, history_length=HISTORY_LENGTH).to_yaml())
    summary = twin("run", "--data", data, "--config", config, "--run-dir", tmp_path / "run")
    test, baselines = summary["metrics"]["test"], summary["metrics"]["baselines"]
    print(
        f"AUC {test['auc']:.4f}, within one roll call {test['auc_within_item']:.4f}; last 100 votes: "
        f"{baselines['last_100_auc']:.4f}, {baselines['last_100_within_roll_call_auc']:.4f}; 20 nearest titles: "
        f"{baselines['nearest_20_titles_auc']:.4f}, {baselines['nearest_20_titles_within_roll_call_auc']:.4f}"
    )
    assert summary["pushed"] is True
    assert test["targets"] == baselines["test_votes"] == 147_435
    events = summary["counts"]["events"]
    assert events["read"] == 870_109
    assert events["dead_letters"] == 0
    assert test["auc"] > max(0.85, baselines["nearest_20_titles_auc"])
    assert test["auc_within_item"] > baselines["nearest_20_titles_within_roll_call_auc"]
