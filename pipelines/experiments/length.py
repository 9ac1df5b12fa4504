"""`length`: quality by the length of the history that a model may see (TWIN, Figure 5)."""

from pipelines.experiments.charts import lines
from pipelines.experiments.contenders import title
from pipelines.experiments.overall import summarise
from pipelines.experiments.report import Figure, Outcome, Table, number
from pipelines.experiments.study import Study


def lengths_of(study: Study) -> list[int]:
    """Lengths to train at, ascending; the last is the configuration's."""
    whole = study.config.history_length
    return sorted({*(max(1, round(whole * share)) for share in study.budget.lengths), whole})


def length(study: Study) -> Outcome:
    """Trains every model at every length with the learning rates that are best at the whole length."""
    lengths = lengths_of(study)
    trainings = len(study.budget.rate_factors) + len(study.seeds) * len(lengths) - 1
    study.display.expect(len(study.models) * trainings)
    values: dict[str, dict[str, dict[str, float | None]]] = {}
    for model in study.models:
        values[model] = {}
        for cut in lengths:
            whole = cut == lengths[-1]
            settings = [study.tuned(model, seed, None if whole else cut) for seed in study.seeds]
            values[model][str(cut)] = summarise([study.train(setting)["test"] for setting in settings])
    verdicts, warnings = [], []
    for at in map(str, lengths):
        ranked = sorted(study.models, key=lambda model: -(values[model][at]["gauc"] or 0.0))
        if values[ranked[0]][at]["gauc"] is None:
            warnings.append(f"{at} behaviours: no model has a GAUC.")
            continue
        sentence = f"{at} behaviours: {title(ranked[0])} has the best GAUC, {number(values[ranked[0]][at]['gauc'])}"
        if "twin" in ranked[1:]:
            warnings.append(f"{sentence}, TWIN {number(values['twin'][at]['gauc'])}: TWIN is NOT first.")
        else:
            verdicts.append(f"{sentence}.")
    if verdicts:
        warnings.append(f"Leads are not tested for significance; seeds of each training: {len(study.seeds)}.")
    blocks: list[Table | Figure] = []
    for metric, name in (("gauc", "GAUC"), ("auc", "AUC")):
        rows = [[title(m), *(number(values[m][str(cut)][metric]) for cut in lengths)] for m in study.models]
        blocks.append(Table(f"{name} by history length", ["model", *(f"{cut:,}" for cut in lengths)], rows))
    chart = lines(
        {title(m): [(cut, values[m][str(cut)]["gauc"]) for cut in lengths] for m in study.models},
        "behaviours a model may see",
        "GAUC",
    )
    caption = (
        "Each point is a training of its own. Models that read only the latest behaviours do not change beyond as "
        "many. At lengths near the targets of a training window MIMN reads less than the length: its memory begins "
        "where the window's last target may begin to see. What SIM searches by is pre-trained on whole histories."
    )
    return Outcome(
        verdicts,
        warnings,
        [Figure("GAUC by history length", chart, caption), *blocks],
        {"lengths": lengths, "models": values},
    )
