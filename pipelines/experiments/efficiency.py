"""`efficiency`: what each model costs in training and in serving."""

from typing import Any

from pipelines.experiments.charts import bars
from pipelines.experiments.contenders import title
from pipelines.experiments.report import Figure, Outcome, Table, number
from pipelines.experiments.serving_cost import candidates, serving_costs
from pipelines.experiments.study import Study


def efficiency(study: Study) -> Outcome:
    """Training targets per second, time of a request and memory of every model."""
    rounds = study.budget.timing_rounds
    study.display.expect(len(study.models) * (len(study.budget.rate_factors) + rounds))
    models, remarks = study.sound_models(cells=rounds)
    speeds: dict[str, float | None] = {}
    for model in models:
        training = study.train(study.tuned(model))["train"]
        here = training.get("machine") == study.about["machine"]
        if not here:
            remarks.append(f"{title(model)} was trained on another machine: its speed there is left out.")
        speeds[model] = training["targets_per_s"] if here else None
    costs = serving_costs(study, models)
    values: dict[str, dict[str, Any]] = {m: {"training_targets_per_s": speeds[m]} | costs[m] for m in models}
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
        f"One user with {study.config.history_length:,} behaviours and {candidates(study)} candidates a request, "
        f"{study.budget.requests} requests after a warm-up, in process, in a fresh process for each model; "
        f"the median of {rounds} {'round' if rounds == 1 else 'rounds'}, in each of which "
        "the models are timed in turn, but those that an earlier call timed."
    )
    speed = bars([(title(m), values[m]["p50_ms"], None) for m in models], " ms", 1)
    training_speed = bars([(title(m), values[m]["training_targets_per_s"], None) for m in models], "/s", 0)
    return Outcome(
        verdicts,
        remarks,
        [
            Table("Cost of every model", header, rows),
            Figure("Serving", speed, about),
            Figure("Training", training_speed, "Targets per second, refreshes of the item table included."),
        ],
        {"models": values},
    )
