"""`lives`: TWIN-V2 on whole lives against TWIN on the latest behaviours, and what each part of it is worth."""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from model.config import TwinConfig
from model.errors import UserError
from pipelines.clustering.vectors import ItemVectors
from pipelines.experiments.charts import bars
from pipelines.experiments.clustered import cluster_data, item_vectors
from pipelines.experiments.dataset import Prepared
from pipelines.experiments.life_retrieval import life_retrieval
from pipelines.experiments.overall import SURE, summarise
from pipelines.experiments.report import Figure, Outcome, Table, number, p_value, plus_minus
from pipelines.experiments.scored import Scored, Scorer, behaviours_by_user
from pipelines.experiments.statistics import mean_and_std, paired_p
from pipelines.experiments.study import Setting, Study
from pipelines.experiments.training import fit, save_state

ACTIVITY = ("low", "medium", "high")
_CLUSTERING_FIELDS = (
    "clustering", "max_cluster_size", "partition_exponent", "completion_groups", "recluster_after",
    "short_term_length",
)  # fmt: skip
CLUSTERING_CODE = "pipelines.experiments.clustered"
"""The module on whose code, and that of all it imports, clustered histories depend."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to read whole lives.

    Attributes:
        title: For the report.
        clustering: Configuration values that decide how histories are clustered; None = they are not.
        interest: The module that reads them.
    """

    title: str
    clustering: Mapping[str, Any] | None
    interest: str = "twin_v2"


VARIANTS = {
    "twin_v2": Variant("TWIN-V2", {}),
    "twin": Variant("TWIN, latest behaviours", None, "twin"),
    "chunks": Variant("chunk means", {"clustering": "chunks"}),
    "without_size": Variant("TWIN-V2 w/o ln n", {}, "twin"),
    "one_group": Variant("TWIN-V2 w/o groups", {"completion_groups": 1}),
    "bisecting": Variant("TWIN-V2, always 2 parts", {"clustering": "bisecting"}),
}


def lives(study: Study) -> Outcome:
    """Trains every variant with all seeds, at the learning rates that are best for TWIN.

    Histories are clustered once a variant, by the vectors of the first seed's TWIN.

    Raises:
        UserError: If that TWIN diverged.
    """
    study.display.expect(len(study.budget.rate_factors) + len(VARIANTS) * len(study.seeds))
    rate = study.tuned_rate("twin")
    if not study.sound("twin"):
        raise UserError(
            "TWIN's training diverged, so there are no vectors to cluster by; name lower factors with --rates"
        )
    vectors = item_vectors(study.data, study.ranker("twin").item_table)
    values: dict[str, dict[str, Any]] = {}
    for name, variant in VARIANTS.items():
        data = study.data if variant.clustering is None else _clustered(study, variant, vectors)
        runs = [_cell(study, name, variant, data, vectors, Setting("twin", seed, rate)) for seed in study.seeds]
        values[name] = _summary(runs) | {"clusters": _clusters(data) if variant.clustering is not None else {}}
    for name in values:
        pairs = (values["twin_v2"]["gauc_per_seed"], values[name]["gauc_per_seed"])
        values[name]["p_against_twin_v2"] = None if name == "twin_v2" else paired_p(*pairs)
    verdicts, warnings = _verdicts(values)
    values_of_all = {"variants": values, "oracle": study.data.oracle}
    tuned = "TWIN, whose rates all variants take"
    return Outcome(verdicts, warnings, _blocks(values), values_of_all, tuned=tuned, seeds=study.seeds)


def _config(study: Study, variant: Variant, setting: Setting) -> TwinConfig:
    changes: dict[str, Any] = {"interest": variant.interest, **(variant.clustering or {})}
    return dataclasses.replace(setting.config(study.config), **changes)


def _clustered(study: Study, variant: Variant, vectors: ItemVectors) -> Prepared:
    config = _config(study, variant, Setting("twin"))
    how = {field: getattr(config, field) for field in _CLUSTERING_FIELDS}
    identity = study.identity_of("twin", CLUSTERING_CODE, clustering=how)
    study.display.within(0, f"{variant.title}, clustering the histories")
    return cluster_data(study.data, vectors, config, study.folder("clustered", identity))


def _cell(
    study: Study, name: str, variant: Variant, data: Prepared, vectors: ItemVectors, setting: Setting
) -> dict[str, Any]:
    config = _config(study, variant, setting)
    targets = study.budget.measured_targets
    identity = study.identity_of("twin", __name__, lives=name, config=config.to_yaml(), targets=targets)

    def make() -> dict[str, Any]:
        label = f"{variant.title}, seed {setting.seed}"
        ranker = fit(data, config, study.catalog(), {}, study.progress(label)).ranker
        scored = Scorer(ranker, data.schema)(data.files("test"))
        result: dict[str, Any] = {"test": scored.metrics(), "by_activity": _by_activity(study, scored)}
        if setting.seed == study.seeds[0]:
            state = study.folder("states", identity)
            shutil.rmtree(state, ignore_errors=True)  # of a training whose cell is lost
            save_state(ranker, state)
            result["retrieval"] = life_retrieval(study, data, config, state, vectors)
        return result

    return study.cell(f"lives-{name}-seed{setting.seed}", identity, make)


def _by_activity(study: Study, scored: Scored) -> dict[str, dict[str, Any]]:
    """Metrics of each third of the users, by their number of behaviours."""
    behaviours = behaviours_by_user(study.data.files("test"))
    borders = np.quantile(list(behaviours.values()), [1 / 3, 2 / 3])
    third = np.searchsorted(borders, [behaviours[user] for user in scored.user.tolist()])
    return {name: scored.where(third == i).metrics() for i, name in enumerate(ACTIVITY)}


def _clusters(data: Prepared) -> dict[str, Any]:
    report = json.loads((data.folder / "test.json").read_text())
    return {name: report[name] for name in ("compression", "mean_size", "max_size", "clusters", "behaviours", "users")}


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    tests = [run["test"] for run in runs]
    summary: dict[str, Any] = summarise(tests) | {"gauc_per_seed": [test["gauc"] for test in tests]}
    for name in ACTIVITY:
        summary[f"gauc_{name}_activity"] = mean_and_std([run["by_activity"][name]["gauc"] for run in runs])[0]
    return summary | {"retrieval": runs[0]["retrieval"]}


def _verdicts(values: dict[str, dict[str, Any]]) -> tuple[list[str], list[str]]:
    ours = values["twin_v2"]
    verdicts: list[str] = []
    warnings: list[str] = []
    for name, other in values.items():
        if name == "twin_v2":
            continue
        if None in (ours["auc"], ours["gauc"], other["auc"], other["gauc"]):
            warnings.append(f"TWIN-V2 and {VARIANTS[name].title}: AUC or GAUC is undefined, so nothing can be said.")
            continue
        p = other["p_against_twin_v2"]
        sure = (
            "one seed, so no test of significance"
            if p is None
            else f"paired t-test over seeds of GAUC: p = {p_value(p)}"
        )
        sentence = (
            f"TWIN-V2 against {VARIANTS[name].title}: AUC {ours['auc'] - other['auc']:+.4f}, "
            f"GAUC {ours['gauc'] - other['gauc']:+.4f} ({sure})."
        )
        ahead = ours["gauc"] > other["gauc"] and ours["auc"] > other["auc"]
        (verdicts if ahead and p is not None and p < SURE else warnings).append(sentence)
    return verdicts, warnings


def _blocks(values: dict[str, dict[str, Any]]) -> list[Table | Figure]:
    ranking = sorted(values, key=lambda name: -(values[name]["gauc"] or 0.0))
    quality = [
        [
            VARIANTS[name].title,
            *(plus_minus(values[name][metric], values[name][f"{metric}_std"]) for metric in ("auc", "gauc", "logloss")),
            *(number(values[name][f"gauc_{third}_activity"]) for third in ACTIVITY),
            p_value(values[name]["p_against_twin_v2"]),
        ]
        for name in ranking
    ]
    header = ["", "AUC", "GAUC", "log loss", *(f"GAUC, {third} activity" for third in ACTIVITY), "p of GAUC"]
    retrieval = [
        [
            VARIANTS[name].title,
            number(values[name]["retrieval"]["hit_percent"], 1),
            number(values[name]["retrieval"]["distinct_categories"], 1),
            number(values[name]["clusters"].get("compression"), 3),
            number(values[name]["clusters"].get("mean_size"), 1),
        ]
        for name in ranking
    ]
    targets = values["twin_v2"]["retrieval"]["targets"]
    columns = ["", "hit@K, %", "distinct categories retrieved", "clusters over behaviours", "mean size"]
    chart = bars([(VARIANTS[name].title, values[name]["gauc"], values[name]["gauc_std"]) for name in ranking])
    return [
        Table("Quality on the test split", header, quality, emphasis=0),
        Figure("GAUC", chart, "The line is the standard deviation over seeds."),
        Table(
            f"What the search retrieves ({targets} eval targets, first seed), and clusters of the test split",
            columns,
            retrieval,
        ),
    ]
