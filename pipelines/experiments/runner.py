"""Runs one experiment: data, study, report."""

import importlib.metadata
import json
import logging
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from model.config import TwinConfig
from model.errors import UserError
from model.schema import load_schema
from pipelines.aside import write_atomically
from pipelines.experiments import serving_cost
from pipelines.experiments.ablation import ablation
from pipelines.experiments.case import case
from pipelines.experiments.checks import check_labels, fit_models, of_budget
from pipelines.experiments.consistency import consistency
from pipelines.experiments.contenders import not_compared, title
from pipelines.experiments.dataset import Prepared, prepare, simulated
from pipelines.experiments.efficiency import efficiency
from pipelines.experiments.length import length
from pipelines.experiments.lives import CLUSTERING_CODE, lives
from pipelines.experiments.overall import overall
from pipelines.experiments.report import Figure, Outcome, render
from pipelines.experiments.request import HEADINGS, PREPARED, ExperimentRequest
from pipelines.experiments.rolling import rolling
from pipelines.experiments.study import TRAINING_CODE, Display, Study
from pipelines.tfx.dataset_json import read_schema_name
from pipelines.tfx.fingerprints import code_fingerprint

_ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS: dict[str, Callable[[Study], Outcome]] = {
    "overall": overall,
    "rolling": rolling,
    "consistency": consistency,
    "length": length,
    "ablation": ablation,
    "case": case,
    "efficiency": efficiency,
    "lives": lives,
}


def run_experiment(request: ExperimentRequest, display: Display) -> dict[str, Any]:
    """Runs an experiment and writes `<out>/<name>/result.json`, `report.html` and its pictures, `*.svg`.

    Raises:
        UserError: If data or configuration are unusable.
    """
    # Keras finds the refresh of the item table slow, which it may be.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # A fingerprint is of the files as they are when it is first asked for: later they may have been edited.
    measuring = (experiment.__module__ for experiment in EXPERIMENTS.values())
    for module in (TRAINING_CODE, CLUSTERING_CODE, serving_cost.__name__, *measuring):
        code_fingerprint(module)
    request.make_out()
    budget = request.chosen_budget()
    data = request.data or simulated(request.out / "data", *budget.simulation)
    config = budget.apply(_config(request, data))
    prepared = prepare(data, config, request.out / PREPARED)
    named = bool(request.models.strip())
    models, remarks = fit_models(request.chosen_models(), named, config, prepared.schema)
    if left := not_compared(request.models, request.name):
        remarks.append(f"{', '.join(map(title, left))}: asked for, and nothing that {request.name} compares.")
    about = {"code_version": code_version(), "machine": _machine()}
    study = Study(prepared, config, budget, request.seeds or budget.seeds, models, request.out, display, about)
    started = time.monotonic()
    with _damage_told(request.out):
        check_labels(prepared, request.name, budget)
        outcome = EXPERIMENTS[request.name](study)
    outcome.warnings.extend([*remarks, *of_budget(budget)])
    record = {
        "command": request.command,
        **about,
        "code_fingerprint": code_fingerprint(TRAINING_CODE),
        "data": str(data),
        "data_fingerprint": prepared.content,
        "prepared_fingerprint": prepared.fingerprint,
        "events": _counts(prepared),
        "budget": budget.name,
        "seeds": list(outcome.seeds) or study.trained_seeds(),
        "search_space": _search_space(study, outcome.tuned),
        "seconds": round(time.monotonic() - started, 1),
        "config": config.to_yaml(),
    }
    folder = request.out / request.name
    report = folder / "report.html"
    result = {
        "experiment": request.name,
        "warnings": outcome.warnings,
        "verdicts": outcome.verdicts,
        **outcome.values,
        "record": record,
    }
    write_atomically(folder / "result.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    for block in outcome.blocks:
        if isinstance(block, Figure):
            write_atomically(folder / block.file_name, block.svg + "\n")
    heading = f"{HEADINGS[request.name]}: {data.resolve().name}"
    write_atomically(report, render(heading, outcome, [(name.replace("_", " "), str(v)) for name, v in record.items()]))
    return result | {"report": str(report)}


@contextmanager
def _damage_told(out: Path) -> Iterator[None]:
    """Says what to do where Examples that an earlier run made cannot be read any more."""
    try:
        yield
    except tf.errors.DataLossError as error:
        reason = re.sub(r"\{\{.*?\}\} *", "", str(error).splitlines()[0])  # without the name of the graph's node
        # TensorFlow does not name the file.
        raise UserError(
            f"{out}: a file in prepared/ or clustered/ is damaged ({reason}); delete both folders"
        ) from None


def code_version() -> str:
    """`git describe` of a checkout, else the installed package's version."""
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--tags"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0 and (_ROOT / ".git").exists():
            return done.stdout.strip()
        return importlib.metadata.version("twin-ctr")
    except (OSError, importlib.metadata.PackageNotFoundError):
        return "unknown"


def _machine() -> str:
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}, NumPy {np.__version__}"
    )


def _config(request: ExperimentRequest, data: Path) -> TwinConfig:
    return TwinConfig.load(request.config or load_schema(read_schema_name(data / "dataset.json")).config_file)


def _counts(prepared: Prepared) -> str:
    report = json.loads((prepared.folder / "report.json").read_text())
    events = {name.replace("_", " "): count for name, count in report["events"].items()}
    return ", ".join(f"{count:,} {name}" for name, count in events.items())


def _search_space(study: Study, tuned: str) -> str:
    factors = ", ".join(f"{factor:g}" for factor in study.budget.rate_factors)
    config = study.config
    return (
        f"{tuned}: factors {factors} on both learning rates (embeddings {config.embedding_learning_rate:g}, "
        f"all else {config.dense_learning_rate:g}), one training each with seed {study.seeds[0]}; the one with the "
        f"highest AUC on the eval split is kept; {config.epochs} epoch(s) over the same training targets"
    )
