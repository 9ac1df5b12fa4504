"""What `twin experiment lives` says first."""

import pytest

from pipelines.experiments.lives import _verdicts


def test_lives_without_an_auc_say_so() -> None:
    undefined = {"auc": None, "gauc": None, "p_against_twin_v2": None}
    verdicts, warnings = _verdicts({"twin_v2": undefined, "twin": undefined})
    assert verdicts == [] and "is undefined" in warnings[0]


@pytest.mark.parametrize(
    ("p", "auc", "sure"), [(0.001, 0.6, True), (0.78, 0.6, False), (None, 0.6, False), (0.001, 0.8, False)]
)
def test_only_a_sure_lead_of_lives_is_a_verdict(p: float | None, auc: float, sure: bool) -> None:
    ours, theirs = {"auc": 0.7, "gauc": 0.7}, {"auc": auc, "gauc": 0.6, "p_against_twin_v2": p}
    verdicts, warnings = _verdicts({"twin_v2": ours, "twin": theirs})
    assert (len(verdicts), len(warnings)) == ((1, 0) if sure else (0, 1))
