import math

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from pipelines.score_metrics import log_losses, score_metrics, user_auc, within_item_auc


def test_auc_by_hand_with_a_tie() -> None:
    # Pairs: (0.9 > 0.5), (0.9 > 0.2), (0.5 = 0.5), (0.5 > 0.2): 3.5 of 4.
    assert user_auc(np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.2])) == 3.5 / 4


def test_auc_of_one_class_is_none() -> None:
    assert user_auc(np.ones(3), np.arange(3.0)) is None
    assert user_auc(np.zeros(3), np.arange(3.0)) is None
    assert user_auc(np.zeros(0), np.zeros(0)) is None


def test_auc_equals_sklearn() -> None:
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 500) / 1, rng.integers(0, 20, 500) / 20
    assert user_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_auc_within_items_by_hand() -> None:
    items = np.array([7, 5, 7, 5, 9, 7])
    labels = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    # Item 7: 0.5 beats 0.4, not 0.6: one half. Item 5: right. Item 9 has one class.
    assert within_item_auc(items, labels, np.array([0.5, 0.9, 0.6, 0.1, 0.0, 0.4])) == 0.75
    assert within_item_auc(items[4:5], labels[4:5], np.array([0.5])) is None


def test_log_loss_equals_sklearn_and_stays_finite() -> None:
    labels, scores = np.array([1.0, 0.0, 1.0]), np.array([0.9, 0.3, 0.5])
    assert log_losses(labels, scores).mean() == pytest.approx(log_loss(labels, scores))
    assert np.isfinite(log_losses(np.array([1.0, 0.0]), np.array([0.0, 1.0]))).all()


def test_gauc_weighs_users_and_leaves_out_those_of_one_class() -> None:
    users = [
        (np.array([1.0, 0.0]), np.array([0.9, 0.1])),  # AUC 1, 2 samples
        (np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.1, 0.9, 0.9, 0.1])),  # AUC (0 + 0 + 0.5) / 3, 4 samples
        (np.array([1.0, 1.0]), np.array([0.1, 0.2])),
    ]
    found = score_metrics(users)
    assert found["gauc"] == pytest.approx((2 * 1 + 4 * 0.5 / 3) / 6)
    assert found["calibration"] == pytest.approx((1.0 + 2.0 + 0.3) / 4)
    assert (found["users"], found["targets"]) == (3, 8)


def test_no_target_at_all() -> None:
    found = score_metrics([])
    assert found == {"auc": None, "gauc": None, "calibration": None, "logloss": None, "users": 0, "targets": 0}
    assert not any(isinstance(v, float) and math.isnan(v) for v in found.values())
