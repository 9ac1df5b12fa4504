"""`efficiency`: what each model costs in training and in serving."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from model.errors import UserError
from model.export import export
from pipelines.experiments import serving_worker
from pipelines.experiments.charts import bars
from pipelines.experiments.contenders import title
from pipelines.experiments.report import Figure, Outcome, Table, number
from pipelines.experiments.study import Study

_ROOT = Path(__file__).resolve().parents[2]


def efficiency(study: Study) -> Outcome:
    """Training targets per second, time of a request and memory of every model, one run each."""
    study.display.expect(len(study.models) * (len(study.budget.rate_factors) + 1))
    values: dict[str, dict[str, Any]] = {}
    models, remarks = study.sound_models()
    for model in models:
        training = study.train(study.tuned(model))["train"]
        here = training.get("machine") == study.about["machine"]
        if not here:
            remarks.append(f"{title(model)} was trained on another machine: its speed there is left out.")
        targets_per_s = training["targets_per_s"] if here else None
        values[model] = {"training_targets_per_s": targets_per_s} | serving_cell(study, model)
    header = ["model", "training, targets/s", "serving p50, ms", "serving p99, ms"]
    header += ["serving: peak memory, MB", "more than TensorFlow alone, MB", "servable, MB"]
    columns = ("training_targets_per_s", "p50_ms", "p99_ms", "peak_rss_mb", "model_rss_mb", "servable_mb")
    rows = [[title(m), *(number(values[m][column], 1) for column in columns)] for m in models]
    verdicts = []
    if "twin" in values:
        order = sorted(models, key=lambda model: values[model]["p50_ms"])
        verdicts.append(
            f"TWIN answers a request in {values['twin']['p50_ms']:.1f} ms, number {order.index('twin') + 1} "
            f"of {len(order)} from the fastest, {title(order[0])}, {values[order[0]]['p50_ms']:.1f} ms."
        )
    about = (
        f"One user with {study.config.history_length:,} behaviours and {_candidates(study)} candidates a request, "
        f"{study.budget.requests} requests after a warm-up, in process, in a fresh process for each model."
    )
    speed = bars([(title(m), values[m]["p50_ms"], None) for m in models], " ms", 1)
    training_speed = bars([(title(m), values[m]["training_targets_per_s"], None) for m in models], "/s", 0)
    return Outcome(
        verdicts,
        remarks,
        [
            Table("Cost of every model, one run", header, rows),
            Figure("Serving", speed, about),
            Figure("Training", training_speed, "Targets per second, refreshes of the item table included."),
        ],
        {"models": values},
    )


def serving_cell(study: Study, model: str) -> dict[str, Any]:
    """Times and memory of the model's servable, measured once."""
    how = {"requests": study.budget.requests, "candidates": _candidates(study), "machine": study.about["machine"]}
    identity = study.identity_of(model, __name__, measured="serving", **how)
    return study.cell(f"serving-{model}", identity, lambda: _measure(study, model))


def _candidates(study: Study) -> int:
    return min(study.budget.candidates, study.config.max_candidates)


def _measure(study: Study, model: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        servable = Path(folder) / "servable"
        catalog = study.catalog()
        export(
            study.ranker(model), study.data.schema, study.data.encoders, catalog.known_ids, catalog.coverage, servable
        )
        size = sum(file.stat().st_size for file in servable.rglob("*") if file.is_file())
        command = [sys.executable, "-m", serving_worker.__name__, str(servable), str(study.config.history_length)]
        command += [str(_candidates(study)), str(study.budget.requests)]
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            end = f"exit code {done.returncode}"
            if done.returncode < 0:
                end = f"killed by signal {-done.returncode}, 9 is most likely for want of memory"
            raise UserError(f"timing the servable of {model} failed ({end}). {done.stderr.strip()[-2000:]}")
        measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return measured | {"servable_mb": size / 1e6}
