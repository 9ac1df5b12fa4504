import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from model.errors import UserError
from model.schema import load_schema
from pipelines.simulator import SimulationReport, fresh_items, simulate
from pipelines.simulator.catalog import make_catalog
from pipelines.simulator.exposure import expose_once

Simulated = tuple[SimulationReport, pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    report = simulate(tmp_path_factory.mktemp("simulated") / "data", 60, 1_000, 2_500, seed=3)
    return report, pq.read_table(report.out / "events").to_pandas(), pq.read_table(report.out / "items").to_pandas()


def split_of(report: SimulationReport) -> dict[str, int]:
    split: dict[str, int] = json.loads((report.out / "dataset.json").read_text())["split"]
    return split


def test_layout_fits_the_schema(simulated: Simulated) -> None:
    report, events, _ = simulated
    schema = load_schema("simulated")
    for table in ("events", "items", "users"):
        names = set(pq.read_table(report.out / table).column_names)
        assert names - {f.name for f in schema.columns(table)} == ({"true_probability"} if table == "events" else set())
        assert {f.name for f in schema.columns(table)} <= names
    assert report.events == len(events) == 60_000
    assert report.users == len(pq.read_table(report.out / "users")) == events["user_id"].nunique()
    assert report.behaviours == events["is_behaviour"].sum()
    assert events["item_id"].between(1, 2_500).all()
    assert json.loads((report.out / "dataset.json").read_text())["schema"] == "simulated"


def test_no_two_events_of_a_user_share_a_time(simulated: Simulated) -> None:
    _, events, _ = simulated
    assert (events.groupby("user_id")["timestamp"].diff().dropna() > 0).all()


def test_most_events_are_behaviours_of_played_items(simulated: Simulated) -> None:
    _, events, _ = simulated
    assert events["is_behaviour"].mean() == pytest.approx(0.85, abs=0.04)
    assert (events["is_behaviour"] == (events["completion"] > 0)).all()
    assert (events.loc[events["click"] == 1, "is_behaviour"] == 1).all()
    clicked, skipped = (events.loc[events["click"] == c, "completion"].mean() for c in (1, 0))
    assert clicked > 2 * skipped


def test_clicks_follow_the_true_probability(simulated: Simulated) -> None:
    _, events, _ = simulated
    for low in np.arange(0.1, 0.9, 0.1):
        part = events[events["true_probability"].between(low, low + 0.1)]
        error = 4 * 0.5 / np.sqrt(len(part))
        assert part["click"].mean() == pytest.approx(part["true_probability"].mean(), abs=error)


def test_oracle_is_the_auc_of_the_true_probability_in_each_range(simulated: Simulated) -> None:
    report, events, _ = simulated
    split = split_of(report)
    borders = [split[f"{name}_ms"] for name in ("train_start", "eval_start", "test_start", "end")]
    assert events["timestamp"].max() == borders[-1] - 1
    for name, start, end in zip(("train", "eval", "test"), borders, borders[1:], strict=False):
        part = events[(events["timestamp"] >= start) & (events["timestamp"] < end)]
        assert len(part) == report.targets[name]
        if name == "train":
            continue
        two_classes = [g for _, g in part.groupby("user_id") if g["click"].nunique() == 2]
        weights = [len(g) for g in two_classes]
        aucs = [roc_auc_score(g["click"], g["true_probability"]) for g in two_classes]
        assert report.oracle[name]["auc"] == pytest.approx(roc_auc_score(part["click"], part["true_probability"]))
        assert report.oracle[name]["gauc"] == pytest.approx(np.average(aucs, weights=weights))
        auc = report.oracle[name]["auc"]
        assert auc is not None and 0.78 < auc < 0.86
    assert json.loads((report.out / "dataset.json").read_text())["oracle"] == report.oracle


def test_default_targets_are_the_last_thirty_percent(simulated: Simulated) -> None:
    report, _, _ = simulated
    assert sum(report.targets.values()) / report.events == pytest.approx(0.3, abs=0.02)
    assert report.targets["test"] / report.events == pytest.approx(0.05, abs=0.01)


def test_targets_option_sets_their_number(tmp_path: Path) -> None:
    report = simulate(tmp_path / "data", 40, 1_000, 1_000, targets=4_000)
    assert sum(report.targets.values()) == pytest.approx(4_000, rel=0.1)
    assert min(report.targets.values()) > 0


def test_rows_depend_on_the_seed_but_not_on_shards_or_users(tmp_path: Path) -> None:
    def events(name: str, users: int, seed: int, rows_per_shard: int) -> pd.DataFrame:
        simulate(tmp_path / name, users, 300, 500, seed, rows_per_shard=rows_per_shard)
        return pq.read_table(tmp_path / name / "events").to_pandas()

    one = events("one", 8, 5, 1_000_000)
    many = events("many", 8, 5, 500)
    assert len(list((tmp_path / "many" / "events").iterdir())) > 2
    pd.testing.assert_frame_equal(one, many)
    fewer = events("fewer", 4, 5, 1_000_000)
    pd.testing.assert_frame_equal(one[one["user_id"] <= 4], fewer)
    assert not events("other", 8, 6, 1_000_000).equals(one)


def test_whole_history_tells_more_than_the_last_fifty(simulated: Simulated) -> None:
    """Past completion of items sharing author or all topics, over two lengths of history."""
    report, events, items = simulated
    split = split_of(report)
    topics = items.set_index("item_id")["topics"].map(lambda t: str(sorted(t)))
    author = items.set_index("item_id")["author_id"]
    popularity = events[events["timestamp"] < split["test_start_ms"]].groupby("item_id")["click"].mean()
    scores: dict[str, list[float]] = {"popularity": [], "recent": [], "whole": []}
    labels: list[int] = []
    for _, user in events.groupby("user_id"):
        keys = pd.DataFrame({"author": user["item_id"].map(author), "topics": user["item_id"].map(topics)}).to_numpy()
        quality = user["completion"].to_numpy() - 0.5
        for row in np.flatnonzero(user["timestamp"].to_numpy() >= split["test_start_ms"]):
            alike = ((keys[:row, 0] == keys[row, 0]) | (keys[:row, 1] == keys[row, 1])).astype(bool)
            for name, start in (("recent", max(0, row - 50)), ("whole", 0)):
                found = quality[start:row][alike[start:row]]
                scores[name].append(found.sum() / (len(found) + 1))
            scores["popularity"].append(popularity.get(user["item_id"].iloc[row], 0.5))
            labels.append(user["click"].iloc[row])
    auc = {name: roc_auc_score(labels, score) for name, score in scores.items()}
    best = report.oracle["test"]["auc"]
    assert best is not None
    assert auc["popularity"] < 0.66
    assert auc["whole"] > auc["recent"] + 0.03
    assert auc["popularity"] + 0.05 < auc["whole"] < best


def test_rare_themes_rest_for_months(simulated: Simulated) -> None:
    _, events, _ = simulated
    theme = make_catalog(2_500, seed=3).theme
    events = events.assign(theme=theme[events["item_id"] - 1])
    events["day"] = events["timestamp"] // 86_400_000
    rests = events.groupby(["user_id", "theme"])["day"].agg(lambda days: days.diff().max())
    often = events.groupby(["user_id", "theme"]).size() >= 10
    # Of the themes a user has met ten times or more, many have paused for two months.
    assert (rests[often] > 60).mean() > 0.25


def test_catalog_is_zipf_and_shows_its_themes() -> None:
    catalog = make_catalog(2_000, seed=1)
    share = np.sort(np.diff(catalog.popularity_cdf, prepend=0))[::-1]
    assert share[0] / share[9] == pytest.approx(10)
    topics = catalog.topics.to_pylist()
    assert all(1 <= len(t) == len(set(t)) <= 4 for t in topics)
    drawn = catalog.sample_from_themes(
        np.repeat(np.arange(catalog.themes), 3), np.tile([0.0, 0.5, 0.999999], catalog.themes)
    )
    assert (catalog.theme[drawn] == np.repeat(np.arange(catalog.themes), 3)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": 0}, "users must be at least 1, got 0"),
        ({"events_per_user": 0}, "events_per_user must be at least 1, got 0"),
        ({"items": 3}, "items must be at least 40, got 3"),
        ({"feed": "stale"}, "feed must be one of recurring, fresh, got .stale."),
        ({"users": 2, "events_per_user": 10, "targets": 21}, "between 1 and users x events_per_user = 20, got 21"),
    ],
)
def test_impossible_sizes(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        simulate(tmp_path / "data", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    out = tmp_path / "data"
    first = simulate(out, 2, 50, 100)
    with pytest.raises(UserError, match="exists already"):
        simulate(out, 3, 50, 100)
    assert simulate(out, 2, 50, 100, overwrite=True) == dataclasses.replace(first)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match=r"no dataset\.json"):
        simulate(stranger, 2, 50, 100, overwrite=True)
    assert (stranger / "thesis.txt").exists()


def test_one_user_with_one_event(tmp_path: Path) -> None:
    report = simulate(tmp_path / "data", 1, 1, 40)
    assert report.events == 1
    assert report.oracle["test"] == {"auc": None, "gauc": None}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    out = tmp_path_factory.mktemp("fresh") / "data"
    report = simulate(out, 20, 1_000, 60_000, seed=3, feed="fresh")
    return report, pq.read_table(out / "events").to_pandas(), pq.read_table(out / "items").to_pandas()


def test_the_fresh_feed_fits_its_schema(fresh: Simulated) -> None:
    report, events, items = fresh
    schema = load_schema("fresh_feed")
    assert json.loads((report.out / "dataset.json").read_text())["schema"] == "fresh_feed"
    assert {f.name for f in schema.columns("items")} == set(items.columns)
    assert {f.name for f in schema.columns("events")} == set(events.columns) - {"true_probability"}
    for best in report.oracle.values():
        assert best["auc"] is not None and 0.78 < best["auc"] < 0.87


def test_the_fresh_feed_hardly_repeats_itself(fresh: Simulated, simulated: Simulated) -> None:
    met_before = [events.duplicated(["user_id", "item_id"]).mean() for _, events, _ in (fresh, simulated)]
    assert [report.met_before for report, _, _ in (fresh, simulated)] == pytest.approx(met_before)
    assert met_before[0] < 0.05 < 0.4 < met_before[1]


def test_items_of_the_fresh_feed_are_alike_but_not_equal(fresh: Simulated) -> None:
    _, _, items = fresh
    catalog = make_catalog(60_000, 3, "fresh")
    theme = catalog.theme
    assert items["author_id"].value_counts().iloc[0] < 0.05 * len(items)
    assert items["category"].between(1, 37).all()
    assert (items["category"] - 1 == theme % 37).mean() == pytest.approx(0.8 + 0.2 / 37, abs=0.01)
    rng = np.random.default_rng(0)
    alike = [rng.choice(np.flatnonzero(theme == t), 2, replace=False) for t in rng.integers(catalog.themes, size=6_000)]
    topics = items["topics"].to_numpy()
    shared = [len(set(topics[a]) & set(topics[b])) for a, b in alike if catalog.author[a] != catalog.author[b]]
    # Three topics, each shown by both at 0.95 ** 2 and spelled the same at 1 / 8, nine in ten of either theme's own.
    assert np.mean(shared) == pytest.approx(3 * 0.95**2 / 8, abs=0.05)
    hashtags = {tag for i in np.flatnonzero(catalog.author == catalog.author[0]) for tag in topics[i]}
    assert len({tag // fresh_items.SPELLINGS for tag in hashtags}) == len(hashtags) > 3


def test_a_theme_begins_again_when_all_of_it_was_shown() -> None:
    catalog = make_catalog(40, 1, "fresh")  # 8 themes of some 5 items
    theme = np.zeros(12, np.int64)
    own = np.flatnonzero(catalog.theme == 0)
    shown = expose_once(catalog, theme, np.ones(12, bool), np.random.default_rng(0))
    assert set(shown[: len(own)]) == set(own)
    np.testing.assert_array_equal(shown[len(own) : 2 * len(own)], shown[: min(len(own), 12 - len(own))])
    popular = expose_once(catalog, np.zeros(100, np.int64), np.zeros(100, bool), np.random.default_rng(0))
    assert len(set(popular[:40])) == 40


def test_popular_and_personal_items_of_a_fresh_feed_differ() -> None:
    catalog = make_catalog(2_000, 1, "fresh")
    personal = np.arange(200) % 2 == 0
    shown = expose_once(catalog, np.arange(200) % 20, personal, np.random.default_rng(0))
    assert len(set(shown)) == 200
    np.testing.assert_array_equal(catalog.theme[shown[personal]], (np.arange(200) % 20)[personal])
