import pytest

from pipelines.scoring import _seen_first, length_slice
from tests.training_data import feature


@pytest.mark.parametrize(
    ("length", "slice_name"),
    [(0, b"0-99"), (99, b"0-99"), (100, b"100-999"), (9_999, b"1000-9999"), (10_000, b"10000+"), (10**6, b"10000+")],
)
def test_length_slices_are_half_open(length: int, slice_name: bytes) -> None:
    assert length_slice(length) == slice_name


def test_behaviours_in_clusters_count_for_the_length() -> None:
    plain = {"target/history_end": feature([3, 5])}
    assert _seen_first(plain) == 3
    assert _seen_first({**plain, "history/cluster_size": feature([20, 10, 1, 1, 1])}) == 31
