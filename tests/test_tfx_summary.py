"""What a run's summary takes from the evaluation."""

from pipelines.tfx.summary import _plain


def test_a_slice_of_one_class_has_no_auc() -> None:
    def auc(positives: float) -> float | int | None:
        values = {"auc": 0.0, "gauc": float("nan"), "positives": positives, "targets": 5.0}
        return _plain({name: {"doubleValue": value} for name, value in values.items()})["auc"]

    # With both classes, 0 is the AUC of the reversed order.
    assert (auc(0.0), auc(5.0), auc(2.0)) == (None, None, 0.0)
