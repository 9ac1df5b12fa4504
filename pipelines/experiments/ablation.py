"""`ablation`: what each part of TWIN is worth, quality and inference time side by side (TWIN, Figure 6)."""

from pipelines.experiments.charts import bars
from pipelines.experiments.contenders import title
from pipelines.experiments.efficiency import serving_cell
from pipelines.experiments.overall import SURE, summarise
from pipelines.experiments.report import Figure, Outcome, Table, number, plus_minus
from pipelines.experiments.statistics import paired_p
from pipelines.experiments.study import Study

_SLOWER = 1.1
_AS_GOOD = 0.005


def ablation(study: Study) -> Outcome:
    """Trains TWIN, its three ablations and, as the paper does, SIM Soft, and times their servables."""
    models = study.models
    study.display.expect(len(models) * (len(study.budget.rate_factors) + len(study.seeds)))
    runs = {model: [run["test"] for run in study.tuned_results(model)] for model in models}
    served = {model for model in models if study.sound(model)}
    study.display.expect(len(served) - len(models))
    values = {
        model: summarise(runs[model])
        | {
            "p_of_gauc_against_twin": paired_p([r["gauc"] for r in runs["twin"]], [r["gauc"] for r in runs[model]])
            if "twin" in runs and model != "twin"
            else None,
            "serving_p50_ms": serving_cell(study, model)["p50_ms"] if model in served else None,
        }
        for model in models
    }
    verdicts: list[str] = []
    warnings: list[str] = []
    unsure: list[str] = []
    undefined: list[str] = []
    for model in (m for m in models if m != "twin" and "twin" in values):
        whole, without = values["twin"]["gauc"], values[model]["gauc"]
        if whole is None or without is None:
            undefined.append(f"{title(model if without is None else 'twin')} has no GAUC: nothing to compare.")
            continue
        if not {model, "twin"} <= served:
            missing = title("twin" if model in served else model)
            undefined.append(f"{missing} was not timed: its first training diverged.")
            continue
        gap = whole - without
        slower = values[model]["serving_p50_ms"] / values["twin"]["serving_p50_ms"]
        p = values[model]["p_of_gauc_against_twin"]
        sure = p is not None and p < SURE
        sentence = (
            f"{title(model)}: GAUC {-gap:+.4f} (p = {number(p)}) and {slower:.2f} times the inference time of TWIN."
        )
        if model == "twin_raw_mhta":  # meant to be as good, and slower by more than two timings of one model differ
            against, shown = sure or slower <= _SLOWER, p is not None and abs(gap) < _AS_GOOD
        else:
            against, shown = gap <= 0, sure
        (warnings if against else verdicts if shown else unsure).append(sentence)
    rows = [
        [
            title(model),
            plus_minus(values[model]["auc"], values[model]["auc_std"]),
            plus_minus(values[model]["gauc"], values[model]["gauc_std"]),
            number(values[model]["p_of_gauc_against_twin"]),
            number(values[model]["serving_p50_ms"], 2),
        ]
        for model in models
    ]
    quality = bars([(title(model), values[model]["gauc"], values[model]["gauc_std"]) for model in models])
    speed = bars([(title(model), values[model]["serving_p50_ms"], None) for model in models], " ms", 2)
    return Outcome(
        verdicts,
        [f"Against the claim: {sentence}" for sentence in warnings]
        + [f"Not significant at p < {SURE}: {sentence}" for sentence in unsure]
        + list(dict.fromkeys(undefined)),
        [
            Table("Ablations", ["model", "AUC", "GAUC", "p of GAUC against TWIN", "serving p50, ms"], rows, emphasis=0),
            Figure("GAUC", quality, "On the test split, with the standard deviation over seeds."),
            Figure("Inference time", speed, "Median time of one request, in process, all candidates together."),
        ],
        {"models": values},
    )
