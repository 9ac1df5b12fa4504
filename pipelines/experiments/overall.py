"""`overall`: every model's quality, with what the differences between seeds allow to say (TWIN, Table 4)."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.experiments.charts import bars
from pipelines.experiments.contenders import ABLATIONS, title
from pipelines.experiments.report import Figure, Outcome, Table, number, p_value, plus_minus
from pipelines.experiments.scored import METRICS
from pipelines.experiments.statistics import best, closed, mean_and_std, paired_p
from pipelines.experiments.study import Study
from pipelines.pretrained_search import CLUSTERS

FLOOR = "avg_pooling"
SURE = 0.01
"""A lead counts as significant below this p."""


def overall(study: Study) -> Outcome:
    """Trains every model with its best learning rates and all seeds, and compares them on the test split."""
    study.display.expect(len(study.models) * (len(study.budget.rate_factors) + len(study.seeds) - 1))
    return compare(study, {model: study.tuned_results(model) for model in study.models})


def compare(
    study: Study,
    runs: Mapping[str, Sequence[dict[str, Any]]],
    periods: Mapping[str, Sequence[float | None]] | None = None,
) -> Outcome:
    """Who is first, how surely, and the table of all.

    Args:
        study: The models compared.
        runs: Every model's results, one a seed, with metrics as `test`.
        periods: Every model's AUC by period, which the test of significance pairs then; None = it pairs seeds.
    """
    means = {model: summarise([run["test"] for run in results]) for model, results in runs.items()}
    ranking = sorted(study.models, key=lambda model: -(means[model]["auc"] or 0.0))
    paired = periods or {model: [run["test"]["auc"] for run in results] for model, results in runs.items()}
    p_values = _against_twin(paired)
    values: dict[str, dict[str, Any]] = {
        model: means[model]
        | {
            "auc_per_seed": [run["test"]["auc"] for run in runs[model]],
            "p_against_twin": p_values.get(model),
            "oracle_distance_closed_percent": _closed(study, means, model),
            "rate_factor": study.tuned_rate(model),
        }
        for model in ranking
    }
    verdicts, warnings = verdict(study.models, means, p_values, "seeds" if periods is None else "periods")
    warnings += _undefined(runs) + _few_clusters(study)
    return Outcome(verdicts, warnings, _blocks(study, ranking, values), {"models": values, "oracle": study.data.oracle})


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Mean and `_std` of every metric over the seeds."""
    summary: dict[str, float | None] = {}
    for metric in METRICS:
        summary[metric], summary[f"{metric}_std"] = mean_and_std([result[metric] for result in results])
    return summary


def verdict(
    models: Sequence[str],
    means: dict[str, dict[str, float | None]],
    p_values: dict[str, float | None],
    paired_by: str = "seeds",
) -> tuple[list[str], list[str]]:
    """What can be said of TWIN and its best rival: sentences for the top, and warnings where TWIN is not first."""
    rivals = [model for model in models if model != "twin" and model not in ABLATIONS]
    auc = {model: means[model]["auc"] for model in models}
    rival, ours = best(auc, rivals), auc.get("twin")
    if "twin" not in models or not rivals:
        return [], ["TWIN and a rival were not both measured, so there is nothing to say of who is first."]
    if rival is None or ours is None:
        return [], ["TWIN or every rival has no AUC, so there is nothing to say of who is first."]
    theirs = auc[rival] or 0.0
    p = p_values.get(rival)
    too_few = f"fewer than two {paired_by} to pair, so no test of significance"
    sure = too_few if p is None else f"paired t-test over {paired_by}: p = {p_value(p)}"
    if ours <= theirs:
        return [], [
            f"TWIN is NOT first on these data: {title(rival)} has AUC {theirs:.4f}, TWIN {ours:.4f} "
            f"({ours - theirs:+.4f}; {sure})."
        ]
    warnings = [] if p is not None and p < SURE else [f"TWIN's lead is not significant at p < {SURE} ({sure})."]
    ahead = [model for model in ABLATIONS if (auc.get(model) or 0.0) > ours]
    warnings += [f"{title(model)}, an ablation of TWIN, is ahead of it: AUC {auc[model]:.4f}." for model in ahead]
    return [
        f"TWIN is first: AUC {ours:.4f}; the best rival, {title(rival)}, has {theirs:.4f} "
        f"({ours - theirs:+.4f}; {sure})."
    ], warnings


def _undefined(runs: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
    missing = {model: sum(run["test"]["auc"] is None for run in results) for model, results in runs.items()}
    return [
        f"{title(model)}: {count} of {len(runs[model])} trainings have no AUC, as they diverged; means leave them out."
        for model, count in missing.items()
        if count
    ]


def _few_clusters(study: Study) -> list[str]:
    found = {
        model: study.train(study.tuned(model))["train"].get("clusters", 0)
        for model in CLUSTERS
        if model in study.models
    }
    return [
        f"{title(model)}: {count:,} of {CLUSTERS[model]:,} clusters hold items: there are at most half as many as "
        "items in training, and k-means leaves some empty."
        for model, count in found.items()
        if 0 < count < CLUSTERS[model]
    ]


def _against_twin(auc: Mapping[str, Sequence[float | None]]) -> dict[str, float | None]:
    return {model: paired_p(auc["twin"], auc[model]) for model in auc if "twin" in auc and model != "twin"}


def _closed(study: Study, means: dict[str, dict[str, float | None]], model: str) -> float | None:
    floor = means.get(FLOOR, {}).get("auc")
    return closed(means[model]["auc"], floor, study.data.oracle.get("auc"))


def _blocks(study: Study, ranking: Sequence[str], values: dict[str, dict[str, Any]]) -> list[Table | Figure]:
    rows: list[list[Any]] = [
        [
            title(model),
            *(plus_minus(values[model][metric], values[model][f"{metric}_std"]) for metric in METRICS),
            p_value(values[model]["p_against_twin"]),
            number(values[model]["oracle_distance_closed_percent"], 1),
            f"× {values[model]['rate_factor']:g}",
        ]
        for model in ranking
    ]
    if study.data.oracle:
        oracle = study.data.oracle
        rows.append(["oracle (true probabilities)", number(oracle.get("auc")), number(oracle.get("gauc")), *[None] * 5])
    header = ["model", "AUC", "GAUC", "AUC within item", "log loss", "p against TWIN", "closed, %", "learning rates"]
    test = "mean ± standard deviation over seeds" if len(study.seeds) > 1 else "one seed"
    chart = bars([(title(model), values[model]["auc"], values[model]["auc_std"]) for model in ranking])
    return [
        Table(f"Quality on the test split ({test})", header, rows, emphasis=0),
        Figure(
            "AUC",
            chart,
            "AUC on the test split; the line is the standard deviation over seeds. "
            "'closed' in the table is the share of the distance between Avg-Pooling's AUC and the oracle's.",
        ),
    ]
