"""`rolling`: quality where models learn on, period by period, as in production (TWIN, section 4.3)."""

from collections.abc import Sequence
from typing import Any

from model.train import count_targets
from pipelines.experiments.charts import lines
from pipelines.experiments.contenders import title
from pipelines.experiments.overall import compare
from pipelines.experiments.periods import Period, read_periods
from pipelines.experiments.report import Figure, Outcome, Table, number
from pipelines.experiments.statistics import mean_and_std
from pipelines.experiments.study import Study


def rolling(study: Study) -> Outcome:
    """Tests every model on each period of the test range after it has learned from all that came before.

    The learning rates are those of the protocol with one cut. What SIM's searches read of items stays as pre-trained on
    the train split. The test of significance pairs periods, as the paper's days.
    """
    study.display.expect(len(study.models) * (len(study.budget.rate_factors) + 2 * len(study.seeds) - 1))
    periods = read_periods(study.data, study.config, study.budget.periods)
    runs = {model: [study.rolled(model, seed, periods) for seed in study.seeds] for model in study.models}
    by_period = {
        model: [mean_and_std([run["periods"][i]["auc"] for run in results])[0] for i in range(len(periods))]
        for model, results in runs.items()
    }
    every = [run for results in runs.values() for run in results]
    targets = [count_targets(period.files, study.config.targets_per_window)[0] for period in periods]
    chart = lines(
        {title(m): list(enumerate(auc, start=1)) for m, auc in by_period.items()}, "period", "AUC", logarithmic=False
    )
    outcome = compare(study, runs, by_period)
    warnings = [*outcome.warnings, *_undefined(periods, targets, every)]
    if study.config.feedback_delay_ms:
        warnings.append(
            f"Labels are learned from when a period begins; feedback_delay_ms ({study.config.feedback_delay_ms:,}) "
            "delays behaviours in histories only, so the last labels of a period are known too early."
        )
    rows = [[title(model), *(number(auc) for auc in by_period[model])] for model in study.models]
    rows.append(["targets", *(f"{count:,}" for count in targets)])
    header = ["model", *(f"period {i}" for i in range(1, len(periods) + 1))]
    caption = "Mean over seeds. The item embeddings and clusters that SIM searches by are those of the train split."
    blocks = [*outcome.blocks, Figure("AUC by period", chart, caption), Table("AUC by period", header, rows)]
    starts = [period.start_ms for period in periods]
    values = outcome.values | {"auc_by_period": by_period, "targets_by_period": targets, "periods_start_ms": starts}
    return Outcome(outcome.verdicts, warnings, blocks, values)


def _undefined(periods: Sequence[Period], targets: Sequence[int], runs: Sequence[dict[str, Any]]) -> list[str]:
    """Periods that can have no AUC; what diverged has no log loss either, and tells nothing of a period's classes."""

    def of_one_class(part: dict[str, Any]) -> bool:
        return part["auc"] is None and part["logloss"] is not None

    return [
        f"Period {i + 1}, which begins at {period.start_ms} ms, has no AUC: "
        + (f"its {targets[i]:,} targets are of one class." if targets[i] else "it has no target.")
        for i, period in enumerate(periods)
        if not targets[i] or any(of_one_class(run["periods"][i]) for run in runs)
    ]
