"""Means, paired tests, and the distance to the oracle."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats


def mean_and_std(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation of the values that are defined; None where there are too few."""
    known = [value for value in values if value is not None]
    if not known:
        return None, None
    return float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None


def paired_p(ours: Sequence[float | None], theirs: Sequence[float | None]) -> float | None:
    """Two-sided p of the paired t-test, pairs sharing a seed or a period; None with less than two pairs.

    Equal differences other than 0 give 0, all differences 0 give 1: the t-test itself divides by their spread.
    """
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    if len(pairs) < 2:
        return None
    differences = np.array([a - b for a, b in pairs])
    if np.ptp(differences) == 0:
        return 1.0 if differences[0] == 0 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def closed(value: float | None, floor: float | None, ceiling: float | None) -> float | None:
    """Share of the distance from `floor` to `ceiling` that `value` has covered, in percent; None where unknown."""
    if value is None or floor is None or ceiling is None or ceiling <= floor:
        return None
    return 100 * (value - floor) / (ceiling - floor)


def best(means: Mapping[str, float | None], among: Sequence[str]) -> str | None:
    """The name of the largest mean among some names; None where none is defined."""
    known = {name: value for name in among if (value := means.get(name)) is not None}
    return max(known, key=lambda name: known[name]) if known else None
