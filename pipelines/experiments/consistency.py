"""`consistency`: does the search find what attention would choose? (TWIN, Figures 1 and 4)."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from model.consistency import DEPTHS, measure
from model.ranker import TwinRanker
from model.request import RawBatch
from model.windows import window_dataset
from pipelines.consistency import eval_windows, hits_by_age
from pipelines.experiments.charts import lines
from pipelines.experiments.contenders import title
from pipelines.experiments.report import Figure, Outcome, Table, Text, number
from pipelines.experiments.study import Study
from pipelines.experiments.themes import simulated_themes, theme_found


def consistency(study: Study) -> Outcome:
    """hit@k of every two-stage model against its own oracle, and TWIN's by the age of its item table."""
    study.display.expect(len(study.models) * (len(study.budget.rate_factors) + 1) + ("twin" in study.models))
    models, warnings = study.sound_models()
    # Only what is not measured yet needs the themes, and all models the same.
    themes = functools.cache(lambda: simulated_themes(study.data.data))
    values = {model: _hits_cell(study, model, themes) for model in models}
    aged = _aged_cell(study) if "twin" in models else {}
    if not aged:
        study.display.expect(-("twin" in study.models))
    retrieved = study.config.retrieved
    verdicts: list[str] = []
    at_k = {model: values[model]["hit_at"].get(str(retrieved)) for model in models}
    if at_k.get("twin") is not None:
        sentence = f"TWIN finds {at_k['twin']:.1f} of the ESU's own top {retrieved} with a fresh item table"
        others = {model: hit for model, hit in at_k.items() if not model.startswith("twin") and hit is not None}
        if others:
            nearest = max(others, key=lambda model: others[model])
            sentence += f"; the best rival, {title(nearest)}, finds {others[nearest]:.1f}"
        (verdicts if at_k["twin"] >= max([99.0, *others.values()]) else warnings).append(sentence + ".")
    elif "twin" in models:
        warnings.append(f"No eval target sees more than {retrieved} behaviours, so there was nothing to measure.")
    else:
        warnings.append("TWIN was not measured, so there is nothing to say of it.")
    depths = [depth for depth in DEPTHS if depth <= study.config.history_length]
    rows = [[title(m), *(number(values[m]["hit_at"].get(str(d)), 1) for d in depths)] for m in models]
    chart = lines(
        {title(m): [(d, values[m]["hit_at"].get(str(d))) for d in depths] for m in models},
        "first k of the search unit",
        f"found of the ESU's own top {retrieved}, % of min(k, {retrieved})",
        (0.0, 100.0),
    )
    blocks: list[Text | Table | Figure] = [
        Figure(
            "hit@k",
            chart,
            "Each model has its own oracle: its ESU's relevance over the whole history, heads united by rank.",
        ),
        Table("hit@k, %", ["model", *(f"{d:,}" for d in depths)], rows),
    ]
    found = {model: values[model]["theme"] for model in models if values[model]["theme"]}
    if found:
        blocks += _theme_blocks(found, retrieved)
    if aged:
        blocks += _age_blocks(aged, retrieved)
    first = values[models[0]]
    blocks.append(Text(f"{first['targets']} eval targets; they see {first['history']:.0f} behaviours on average."))
    return Outcome(verdicts, warnings, blocks, {"models": values, "twin_by_table_age": aged, "retrieved": retrieved})


def _age_blocks(aged: dict[str, Any], retrieved: int) -> list[Text | Table | Figure]:
    rows = [
        [age, number(100 * int(age) / aged["training_steps"], 1), number(hit, 1)]
        for age, hit in aged["hit_at_k_by_age"].items()
    ]
    header = ["training steps since", "of all its training, %", "hit"]
    return [
        Table(f"TWIN by the age of its item table: hit@{retrieved}, %", header, rows),
        Text("The paper's 15 minutes are 1.1 % of the 23 hours that its models train on; it has 94 then."),
    ]


def _theme_blocks(found: dict[str, dict[str, Any]], retrieved: int) -> list[Text | Table | Figure]:
    rows = [
        [title(m), number(theme["found"], 1), number(theme["attended"], 1), theme["targets"]]
        for m, theme in found.items()
    ]
    header = ["model", f"found, of {retrieved} at most", "of the attention", "targets"]
    return [
        Table("Behaviours of the target's theme, which only the simulator sees, %", header, rows),
        Text(f"Eval targets that see more than {retrieved} behaviours, at least five of them of the theme."),
    ]


def _hits_cell(study: Study, model: str, themes: Callable[[], np.ndarray | None]) -> dict[str, Any]:
    identity = study.identity_of(model, __name__, measured="consistency", targets=study.budget.measured_targets)

    def make() -> dict[str, Any]:
        ranker = study.ranker(model)
        batches = _eval_batches(study, ranker)
        found = measure(ranker, batches, _depths(study))
        # NaN, where no target was measured, is no JSON.
        hits = {str(depth): hit for depth, hit in found.hit_at.items() if hit == hit}
        of_items = themes()
        theme = None if of_items is None else theme_found(ranker, batches, of_items)
        return {
            "hit_at": hits,
            "targets": found.targets,
            "history": found.history,
            "theme": theme and dataclasses.asdict(theme),
        }

    return study.cell(f"consistency-{model}", identity, make)


def _aged_cell(study: Study) -> dict[str, Any]:
    budget = study.budget
    ages = list(budget.table_ages)
    identity = study.identity_of("twin", __name__, measured="table age", targets=budget.measured_targets, ages=ages)
    aged = study.cell("consistency-twin-by-age", identity, lambda: {"hit_at_k_by_age": _by_age(study, ages)})
    return aged | {"training_steps": study.train(study.tuned("twin"))["train"]["steps"]}


def _by_age(study: Study, ages: Sequence[int]) -> dict[str, float]:
    ranker, retrieved = study.ranker("twin"), study.config.retrieved
    batches = _eval_batches(study, ranker)
    train = window_dataset(study.data.files("train"), study.data.schema, ranker.config, shuffle=True).repeat()
    hits = {0: measure(ranker, batches, [retrieved]).hit_at[retrieved]}
    hits |= hits_by_age(ranker, iter(train), batches, ages, retrieved)
    return {str(age): hit for age, hit in hits.items() if hit == hit}


def _eval_batches(study: Study, ranker: TwinRanker) -> list[RawBatch]:
    return eval_windows(study.data.files("eval"), study.data.schema, ranker.config, study.budget.measured_targets)


def _depths(study: Study) -> list[int]:
    return sorted({*DEPTHS, study.config.retrieved})
