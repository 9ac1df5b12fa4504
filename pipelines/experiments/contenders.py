"""Which models an experiment compares, and under which names."""

import dataclasses
from typing import Any, get_args

from model.config import InterestName, TwinConfig, as_configured
from model.errors import UserError

LONG_DIN = "din_1000"
MODELS: dict[str, dict[str, Any]] = {
    # TWIN-V2 reads clustered Examples, which only `lives` makes.
    **{name: {"interest": name} for name in get_args(InterestName) if name != "twin_v2"},
    "din": {"interest": "din", "recent_length": 100},
    LONG_DIN: {"interest": "din", "recent_length": 1_000},
}
"""Name of each model to the configuration values that make it; all else is shared."""
ABLATIONS = ("twin_without_consistency", "twin_raw_mhta", "twin_without_bias")
WHOLE_POOLED = ("avg_pooling", "din", LONG_DIN, "dien", "mimn")
TWO_STAGE = tuple(name for name in MODELS if name not in WHOLE_POOLED)
"""Models that search before they attend."""
_MEASURED = {
    "consistency": TWO_STAGE,
    "case": TWO_STAGE,
    # The paper sets SIM Soft beside the ablations.
    "ablation": ("twin", "sim_soft", *ABLATIONS),
    "lives": ("twin",),
}
"""What an experiment compares, where that is not every model."""
_TITLES = {
    "twin": "TWIN",
    "avg_pooling": "Avg-Pooling",
    "din": "DIN (100 most recent)",
    LONG_DIN: "DIN (1,000 most recent)",
    "dien": "DIEN",
    "mimn": "MIMN",
    "ubr4ctr": "UBR4CTR",
    "sim_hard": "SIM Hard",
    "sim_soft": "SIM Soft",
    "sim_cluster": "SIM Cluster",
    "sim_cluster_plus": "SIM Cluster+",
    "eta": "ETA",
    "sdim": "SDIM",
    "twin_without_consistency": "TWIN w/o Para-Con",
    "twin_raw_mhta": "TWIN w/ Raw MHTA",
    "twin_without_bias": "TWIN w/o Bias",
}


def title(model: str) -> str:
    """A model's name as the paper prints it."""
    return _TITLES.get(model, model)


def choose(names: str, experiment: str) -> list[str]:
    """Those of the named models that an experiment compares, in the order of `MODELS`; without names all of them.

    Args:
        names: Separated by commas, with dashes or underscores.
        experiment: Its name.

    Raises:
        UserError: If there is no such model, or the experiment compares none of those named.
    """
    wanted = _named(names)
    unknown = sorted(set(wanted) - set(MODELS))
    if names.strip() and not wanted:
        raise UserError(f"--models: expected names separated by commas, got {names!r}")
    if unknown:
        raise UserError(f"--models: no model {', '.join(unknown)}; there are {', '.join(MODELS)}")
    measured = [name for name in MODELS if name in _MEASURED.get(experiment, MODELS)]
    chosen = [name for name in measured if not wanted or name in wanted]
    if not chosen:
        raise UserError(f"--models: {experiment} compares {', '.join(measured)}; got {', '.join(wanted)}")
    return chosen


def not_compared(names: str, experiment: str) -> list[str]:
    """Those of the named models that an experiment leaves out, as `choose` does."""
    compared = choose(names, experiment)
    return [name for name in dict.fromkeys(_named(names)) if name not in compared]


def _named(names: str) -> list[str]:
    return [as_configured(name) for name in names.split(",") if name.strip()]


def configure(model: str, config: TwinConfig) -> TwinConfig:
    """`config` with what makes `model` this model."""
    return dataclasses.replace(config, **MODELS[model])
