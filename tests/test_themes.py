"""How much of a simulated theme a search finds, against numbers counted by hand."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tensorflow as tf

from model.ranker import TwinRanker
from pipelines.experiments.themes import simulated_themes, theme_found
from pipelines.simulator import simulate
from pipelines.simulator.catalog import make_catalog

THEME = np.array([7, 7, 3, 3, 7])  # of items 1 to 5


def ranker(position: list[list[int]], attention: list[list[float]], history_length: int = 100) -> TwinRanker:
    """A ranker that retrieves `position` [N, K] with `attention` [N, K] in both of two heads."""
    weights = tf.constant([[[row, row] for row in attention]])
    interest = SimpleNamespace(position=tf.constant([position]), attended=SimpleNamespace(attention=weights))
    config = SimpleNamespace(history_length=history_length)
    return cast(TwinRanker, SimpleNamespace(config=config, score=lambda raw: (None, interest)))


def window(history: list[int], item: list[int], end: list[int], weight: list[float]) -> dict[str, Any]:
    return {
        "history/item_id": tf.constant([history]),
        "candidate/item_id": tf.constant([item]),
        "candidate/history_end": tf.constant([end]),
        "weight": tf.constant([weight]),
    }


def test_found_and_attended_by_hand() -> None:
    history = [1, 2, 3, 5, 1, 2, 4, 0]  # themes 7 7 3 7 7 7 3, padding
    raw = window(history, item=[5, 1, 3], end=[7, 7, 7], weight=[1, 0, 1])
    # The first sees five of theme 7 and K = 4: of its three places, two are of the theme. The second is padding; the
    # third has met its theme twice only.
    of_rank = ranker([[0, 2, 5, -1], [0, 1, 3, 4], [2, 6, 0, 1]], [[0.5, 0.2, 0.3, 0.0], [1, 0, 0, 0], [1, 0, 0, 0]])
    result = theme_found(of_rank, [raw], THEME)
    assert result is not None
    assert (result.found, result.targets) == (50, 1)
    assert result.attended == pytest.approx(80)


def test_what_a_model_does_not_see_does_not_count() -> None:
    raw = window([1, 2, 5, 1, 2, 5, 3], item=[1], end=[7], weight=[1])
    result = theme_found(ranker([[2, 3]], [[0.4, 0.6]], history_length=6), [raw], THEME)
    assert result is not None and result.found == 100  # two of five, where two places are all
    assert theme_found(ranker([[2, 3]], [[0.4, 0.6]], history_length=5), [raw], THEME) is None  # four of the theme


def test_targets_whose_history_fits_into_k_and_diverged_models_say_nothing() -> None:
    raw = window([1, 2, 5, 1, 2], item=[1], end=[5], weight=[1])
    assert theme_found(ranker([[0, 1, 2, 3, 4]], [[0.2] * 5]), [raw], THEME) is None
    assert theme_found(ranker([[0, 1]], [[float("nan")] * 2]), [raw], THEME) is None


@pytest.mark.parametrize("feed", ["recurring", "fresh"])
def test_themes_are_drawn_again_where_the_items_are_the_same(feed: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    simulate(data, 2, 20, 100, seed=4, feed=feed)
    expected = make_catalog(100, 4, feed).theme
    themes = simulated_themes(data)
    assert themes is not None and (themes == expected).all()
    about = json.loads((data / "dataset.json").read_text())

    def rewrite(**settings: object) -> None:
        simulation = {name: value for name, value in (about["simulation"] | settings).items() if value is not None}
        (data / "dataset.json").write_text(json.dumps(about | {"simulation": simulation}))

    rewrite(seed=5)
    assert simulated_themes(data) is None
    rewrite(feed=None)  # as earlier versions, which had one feed
    assert (simulated_themes(data) is None) == (feed == "fresh")
    (data / "dataset.json").write_text(json.dumps({"schema": "simulated"}))
    assert simulated_themes(data) is None
