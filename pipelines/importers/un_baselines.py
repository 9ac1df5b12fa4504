"""Model-free baselines on the UN votes, for the summary to show beside a model's results."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

LAST_VOTES = 100
NEAREST_TITLES = 20
_NO_HISTORY = 0.5
_FIRST_ROWS = 1_000


def un_baselines(data: Path, test_start_ms: int) -> dict[str, float]:
    """Scores every test vote from the country's votes of strictly earlier dates, without any model.

    Two scores: the share of yes among the country's last 100 votes, and among the 20 of its past votes whose titles are
    nearest by TF-IDF (the later one first where titles are equally near). Nearly identical yearly resolutions make the
    second one strong.

    Args:
        data: A folder with the tables that `import_un_votes` writes.
        test_start_ms: Time of the first test vote.

    Returns:
        `test_votes`, and for `last_100` and `nearest_20_titles` the `<score>_auc` over all test votes and
        `<score>_within_roll_call_auc`, the mean over the roll calls that have both classes.
    """
    events = pq.read_table(data / "events", columns=["country", "rcid", "timestamp", "agreed"]).to_pandas()
    items = pq.read_table(data / "items", columns=["rcid", "title"]).to_pandas()
    time_of = events.groupby("rcid")["timestamp"].first()
    items = items.assign(time=items["rcid"].map(time_of)).dropna(subset=["time"]).sort_values(["time", "rcid"])
    times = items["time"].to_numpy()
    votes = events.pivot(index="rcid", columns="country", values="agreed").reindex(items["rcid"]).to_numpy()  # [R, C]
    titles = TfidfVectorizer(sublinear_tf=True).fit_transform(items["title"])
    first_test = int(np.searchsorted(times, test_start_ms))
    nearness = (titles[first_test:] @ titles.T).toarray()
    last = np.full((len(votes) - first_test, votes.shape[1]), np.nan)
    nearest = last.copy()
    for row, roll_call in enumerate(range(first_test, len(votes))):
        past = votes[: np.searchsorted(times, times[roll_call])][::-1]
        last[row] = _share_of_first(past, np.arange(len(past)), LAST_VOTES)
        order = np.argsort(-nearness[row, : len(past)][::-1], kind="stable")
        nearest[row] = _share_of_first(past, order, NEAREST_TITLES)
    test = votes[first_test:]
    result = {"test_votes": float(np.isfinite(test).sum())}
    for name, score in (("last_100", last), ("nearest_20_titles", nearest)):
        result[f"{name}_auc"] = _auc(test, score)
        within = [_auc(label, values) for label, values in zip(test, score, strict=True)]
        result[f"{name}_within_roll_call_auc"] = float(np.nanmean(within))
    return result


def _share_of_first(votes: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """Per country the share of yes among its first `count` votes of `[rows, C]` in an order (NaN: did not vote)."""
    head = votes[order[:_FIRST_ROWS]]
    share = _share(head, count)
    rare = np.flatnonzero(np.isfinite(head).sum(axis=0) < count)
    share[rare] = _share(votes[:, rare][order], count)
    return share


def _share(votes: np.ndarray, count: int) -> np.ndarray:
    voted = np.isfinite(votes)
    used = voted & (np.cumsum(voted, axis=0, dtype=np.int32) <= count)
    cast = used.sum(axis=0)
    yes = np.where(used, votes, 0.0).sum(axis=0)
    return np.where(cast > 0, yes / np.maximum(cast, 1), _NO_HISTORY)


def _auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """AUC of the votes cast; NaN with one class only."""
    cast = np.isfinite(labels)
    if len(np.unique(labels[cast])) < 2:
        return float("nan")
    return float(roc_auc_score(labels[cast], scores[cast]))
