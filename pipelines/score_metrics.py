"""Metrics of scored targets, exact and without TensorFlow."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
_SMALLEST = 1e-7


def user_auc(labels: Floats, predictions: Floats) -> float | None:
    """AUC: the share of (positive, negative) pairs in the right order, ties one half; None where a class is missing.

    Args:
        labels: 0 or 1, [n].
        predictions: Scores, [n].
    """
    positive = predictions[labels > 0.5]
    negative = np.sort(predictions[labels <= 0.5])
    if not positive.size or not negative.size:
        return None
    below = np.searchsorted(negative, positive, side="left").astype(np.float64)
    not_above = np.searchsorted(negative, positive, side="right").astype(np.float64)
    return float((below + not_above).mean() / (2 * negative.size))


def within_item_auc(items: npt.NDArray[np.integer[Any]], labels: Floats, predictions: Floats) -> float | None:
    """Mean AUC over the items that have both classes: what ranks the users of one item; None where no item has.

    Args:
        items: Item of each target, [n].
        labels: 0 or 1, [n].
        predictions: Scores, [n].
    """
    order = np.argsort(items, kind="stable")
    borders = np.flatnonzero(np.diff(items[order])) + 1
    groups = zip(np.split(labels[order], borders), np.split(predictions[order], borders), strict=True)
    aucs = [auc for group in groups if (auc := user_auc(*group)) is not None]
    return float(np.mean(aucs)) if aucs else None


def log_losses(labels: Floats, predictions: Floats) -> npt.NDArray[np.float64]:
    """Cross entropy of each target, predictions clipped to [1e-7, 1 - 1e-7], [n]."""
    clipped = np.clip(predictions.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    return -np.where(labels > 0.5, np.log(clipped), np.log1p(-clipped))


def score_metrics(users: Sequence[tuple[Floats, Floats]]) -> dict[str, float | int | None]:
    """AUC, GAUC, calibration (mean prediction over mean label), log loss and counts.

    Args:
        users: Labels [T] and predictions [T] of every user.

    Returns:
        Values by name; None where one is not defined, as the AUC of a single class.
    """
    labels = np.concatenate([np.zeros(0), *(labels for labels, _ in users)])
    predictions = np.concatenate([np.zeros(0), *(predictions for _, predictions in users)])
    per_user = [(labels.size, auc) for labels, scores in users if (auc := user_auc(labels, scores)) is not None]
    weight = sum(n for n, _ in per_user)
    return {
        "auc": user_auc(labels, predictions),
        "gauc": sum(n * auc for n, auc in per_user) / weight if weight else None,
        "calibration": float(predictions.sum() / labels.sum()) if labels.sum() else None,
        "logloss": float(log_losses(labels, predictions).mean()) if labels.size else None,
        "users": len(users),
        "targets": int(labels.size),
    }
