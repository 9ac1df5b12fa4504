"""`summary.json`: what a run came to."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_metadata.proto.v0 import anomalies_pb2

from pipelines.preprocess.split_config import SPLITS
from pipelines.score_metrics import score_metrics, within_item_auc
from pipelines.scoring import read_scores
from pipelines.tfx.dag import PLAIN_TRAINER
from pipelines.tfx.dataset_json import read_dataset_json
from pipelines.tfx.evaluation import BASELINE, CANDIDATE
from pipelines.tfx.plan import Plan
from pipelines.tfx.run_records import Output
from pipelines.tfx.target_scorer import EVALUATED_SPLIT, PREDICTION, SCORED_SPLITS
from pipelines.tfx.trainer import REPORT

CLUSTERER = "HistoryClusterer"
_COUNTS = ("positives", "targets")

Outputs = Mapping[str, Mapping[str, Output]]


def summarise(plan: Plan, outputs: Outputs, components: Mapping[str, Any], run_dir: Path) -> dict[str, Any]:
    """Collects metrics, counts, times and paths of a run.

    Args:
        plan: What it worked on.
        outputs: What its components made.
        components: Seconds, cached and peak memory of each component.
        run_dir: The run directory.

    Returns:
        Plain JSON values; metrics of the eval split are TFMA's, those of the test split computed from the scores.
    """
    report = json.loads((outputs["SequenceExampleGen"]["report"].uri / "report.json").read_text())
    pushed = outputs["Pusher"]["pushed_model"].properties
    servable = outputs["ServableAssembler"]["servable"].uri / "Format-Serving"
    about = json.loads((servable / "assets.extra" / "twin.json").read_text())
    check = outputs["ServableCheck"]["blessing"].properties
    return {
        "run_dir": str(run_dir),
        "data": plan.data,
        "schema": plan.schema.name,
        "blessed": outputs["Evaluator"]["blessing"].properties.get("blessed") == 1,
        "pushed": pushed.get("pushed") == 1,
        "version": int(pushed["pushed_version"]) if pushed.get("pushed") == 1 else None,
        "servable_check": check["reason"] or "passed",
        "metrics": _metrics(outputs, plan),
        "training": json.loads((outputs["TwinTrainer"]["model_run"].uri / REPORT).read_text()),
        **_clustering(outputs),
        "counts": {key: report[key] for key in ("events", "items", "users", "examples")},
        "table": {
            "rows": about["table_rows"],
            "coverage": about["table_coverage"],
            "dtype": about["table_dtype"],
        },
        "anomalies": _anomalies(outputs["ExampleValidator"]["anomalies"].uri),
        "components": dict(components),
        "seconds": round(sum(component["seconds"] for component in components.values()), 1),
        "peak_rss_gb": max((component["peak_rss_gb"] for component in components.values()), default=0.0),
        "paths": {
            "servable": pushed.get("pushed_destination") or str(servable),
            "examples": str(_learned_from(outputs).uri),
            "catalog": str(outputs["SequenceExampleGen"]["catalog"].uri),
            "dead_letters": str(outputs["SequenceExampleGen"]["report"].uri / "dead_letters"),
            "model": str(outputs["TwinTrainer"]["model"].uri / "Format-Serving"),
            "scores": str(outputs["TargetScorer"]["scores"].uri),
            "evaluation": str(outputs["Evaluator"]["evaluation"].uri),
            "log": str(run_dir / "logs" / "tfx.log"),
        },
    }


def _clustering(outputs: Outputs) -> dict[str, Any]:
    """Where histories are clustered, the clustering's counts by split, and the training of the model behind it."""
    if CLUSTERER not in outputs:
        return {}
    report = outputs[CLUSTERER]["report"].uri
    return {
        "plain_training": json.loads((outputs[PLAIN_TRAINER]["model_run"].uri / REPORT).read_text()),
        "clustering": {split: json.loads((report / f"{split}.json").read_text()) for split in SPLITS},
    }


def _learned_from(outputs: Outputs) -> Output:
    if CLUSTERER in outputs:
        return outputs[CLUSTERER]["clustered_examples"]
    return outputs["SequenceExampleGen"]["examples"]


def _metrics(outputs: Outputs, plan: Plan) -> dict[str, Any]:
    metrics = _tfma_metrics(outputs["Evaluator"]["evaluation"].uri)
    for split in SCORED_SPLITS:
        files = sorted((outputs["TargetScorer"]["scores"].uri / f"Split-{split}").glob("*.gz"))
        scores = read_scores(files, PREDICTION)
        if split != EVALUATED_SPLIT:
            metrics[split] = score_metrics(list(zip(scores["label"], scores[PREDICTION], strict=True)))
        metrics[split]["auc_within_item"] = None
        if scores["label"]:
            flat = (np.concatenate(scores[name]) for name in ("item_id", "label", PREDICTION))
            metrics[split]["auc_within_item"] = within_item_auc(*flat)
    about = read_dataset_json(Path(plan.data) / "dataset.json")
    return metrics | {name: about[name] for name in ("oracle", "baselines") if about.get(name)}


def _tfma_metrics(evaluation: Path) -> dict[str, Any]:
    """Metrics of the eval split: the model's overall and by history length, and the baseline's overall."""
    specs = json.loads((evaluation / "eval_config.json").read_text())["evalConfig"]["modelSpecs"]
    # A single model loses its name.
    names = {CANDIDATE: CANDIDATE, BASELINE: BASELINE} if len(specs) > 1 else {CANDIDATE: ""}
    metrics: dict[str, Any] = {}
    for label, name in names.items():
        by_slice: dict[str, Any] = {}
        for key, values in tfma.load_eval_result(str(evaluation), model_name=name).slicing_metrics:
            by_slice["".join(str(part[1]) for part in key)] = _plain(values[""][""])
        overall = by_slice.pop("", {})
        if label == CANDIDATE:
            metrics |= {"eval": overall, "eval_by_history_length": dict(sorted(by_slice.items()))}
        else:
            metrics["last_blessed_on_eval"] = overall
    return metrics


def _plain(values: Mapping[str, Mapping[str, Any]]) -> dict[str, float | int | None]:
    found: dict[str, float | int | None] = {}
    for name, value in sorted(values.items()):
        number = float(value["doubleValue"])
        found[name] = int(number) if name in _COUNTS else number if math.isfinite(number) else None
    if found["positives"] in (0, found["targets"]):
        # TFMA gives 0 for the AUC of a single class, which has none.
        found["auc"] = None
    return found


def _anomalies(folder: Path) -> dict[str, dict[str, str]]:
    """Split -> feature -> what data validation found odd about it."""
    found: dict[str, dict[str, str]] = {}
    for file in sorted(folder.glob("Split-*/*.pb")):
        anomalies = anomalies_pb2.Anomalies.FromString(file.read_bytes())
        infos = {name: info.description for name, info in anomalies.anomaly_info.items()}
        if infos:
            found[file.parent.name.removeprefix("Split-")] = infos
    return found
