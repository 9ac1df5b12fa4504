"""What can be told of a data set before anything is trained on it."""

import numpy as np
import tensorflow as tf

from model.config import TwinConfig
from model.errors import UserError
from model.interest import categories, category_feature
from model.schema import DatasetSchema
from model.train import target_values
from pipelines.experiments.budget import Budget
from pipelines.experiments.contenders import title
from pipelines.experiments.dataset import Prepared

_BY_CATEGORY = "sim_hard"
_WITHOUT_BIAS = "twin_without_bias"
_WITHOUT_METRICS = ("consistency", "case", "efficiency")


def check_labels(data: Prepared, experiment: str, budget: Budget) -> None:
    """Sees that a split has both classes: test, where the experiment compares by AUC; eval, where it chooses a rate.

    Raises:
        UserError: If one has not.
    """
    splits = ["eval"] * (len(budget.rate_factors) > 1) + ["test"] * (experiment not in _WITHOUT_METRICS)
    for split in splits:
        values = target_values(data.files(split), "target/label", tf.float32)
        labels = np.concatenate([np.zeros(0, np.float32), *values])
        positive = int((labels > 0.5).sum())
        if positive in (0, len(labels)):
            raise UserError(
                f"{data.data}: {positive:,} of the {len(labels):,} targets in the {split} split have label 1, so no "
                "AUC is defined; move the split's borders in dataset.json, or check the label column"
            )


def fit_models(
    models: list[str], named: bool, config: TwinConfig, schema: DatasetSchema
) -> tuple[list[str], list[str]]:
    """The models that the data set's columns allow, and what the report must say of them.

    Args:
        models: Those wanted.
        named: Whether they were asked for by name; else one that cannot be is left out.
        config: `category_feature`.
        schema: The data set's columns.

    Raises:
        CategoryError: If the configured category is none, or SIM Hard was asked for and there is none.
    """
    if config.category_feature is not None:
        # `lives` counts categories without SIM Hard: a wrong name is told now and not after the trainings.
        category_feature(config, schema)
    remarks: list[str] = []
    if _WITHOUT_BIAS in models and not named and not schema.cross and not schema.age:
        models = [model for model in models if model != _WITHOUT_BIAS]
        remarks.append(f"{title(_WITHOUT_BIAS)} was left out: without cross features no model has a bias.")
    if _BY_CATEGORY not in models or config.category_feature is not None:
        return models, remarks
    possible = categories(schema)
    if not possible and not named:
        left = f"{title(_BY_CATEGORY)} was left out: no item feature is fit to be its category."
        return [model for model in models if model != _BY_CATEGORY], [*remarks, left]
    chosen = category_feature(config, schema)
    if len(possible) > 1:
        others = ", ".join(name for name in possible if name != chosen)
        remarks.append(
            f"{title(_BY_CATEGORY)} searches by {chosen!r}, as no category_feature is configured; it could be {others}."
        )
    return models, remarks


def of_budget(budget: Budget) -> list[str]:
    """What the report must say of the sizes."""
    if budget.name != "quick":
        return []
    return ["The quick budget trains small models briefly: it shows that all of them run, not which is best."]
