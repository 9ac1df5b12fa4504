"""What serving a model costs: time of a request, memory and size of its servable."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.errors import UserError
from model.export import export
from pipelines.experiments import serving_worker
from pipelines.experiments.study import Study

_ROOT = Path(__file__).resolve().parents[2]


def serving_costs(study: Study, models: Sequence[str]) -> dict[str, dict[str, float]]:
    """Time, memory and size of each model's servable, medians over the budget's rounds of timing.

    In each round the models are timed in turn, so that a machine that slows down does so for all. Rounds that an
    earlier call measured are not measured again.
    """
    rounds = range(1, study.budget.timing_rounds + 1)
    with tempfile.TemporaryDirectory() as servables:
        measured = [{model: _cell(study, model, number, Path(servables)) for model in models} for number in rounds]
    return {
        model: {value: statistics.median(of[model][value] for of in measured) for value in measured[0][model]}
        for model in models
    }


def candidates(study: Study) -> int:
    """Candidates of a timed request."""
    return min(study.budget.candidates, study.config.max_candidates)


def _cell(study: Study, model: str, number: int, servables: Path) -> dict[str, Any]:
    how = {"requests": study.budget.requests, "candidates": candidates(study), "machine": study.about["machine"]}
    identity = study.identity_of(model, __name__, measured="serving", round=number, **how)
    return study.cell(f"serving-{model}-round{number}", identity, lambda: _measure(study, model, servables / model))


def _measure(study: Study, model: str, servable: Path) -> dict[str, Any]:
    """Times the servable, which is exported unless an earlier round did."""
    if not servable.is_dir():
        catalog = study.catalog()
        export(
            study.ranker(model), study.data.schema, study.data.encoders, catalog.known_ids, catalog.coverage, servable
        )
    size = sum(file.stat().st_size for file in servable.rglob("*") if file.is_file())
    command = [sys.executable, "-m", serving_worker.__name__, str(servable), str(study.config.history_length)]
    command += [str(candidates(study)), str(study.budget.requests)]
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
