"""How much of a simulated target's theme a search finds; themes are latent: only the simulator knows them."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

from model.ranker import TwinRanker
from model.request import RawBatch
from pipelines.simulator.catalog import make_catalog
from pipelines.tfx.dataset_json import read_dataset_json

_LEAST = 5


@dataclasses.dataclass(frozen=True)
class ThemeFound:
    """Means over targets that see more than K behaviours, at least five of them of their theme.

    Attributes:
        found: Percentage of the visible behaviours of the target's theme, of K at most, that are retrieved.
        attended: Percentage of the attention (mean of the heads) that they get.
        targets: Number of targets.
    """

    found: float
    attended: float
    targets: int


def simulated_themes(data: Path) -> np.ndarray | None:
    """Theme of item 1, 2, ... int64 `[I]`, drawn again from the settings in `dataset.json`.

    None for real data, and where the items drawn are not those of the folder, as another version has written them.
    """
    settings = read_dataset_json(data / "dataset.json").get("simulation")
    if settings is None:
        return None
    catalog = make_catalog(settings["items"], settings["seed"], settings.get("feed", "recurring"))
    written, drawn = pq.read_table(data / "items"), catalog.to_table()
    return catalog.theme if written.to_pydict() == drawn.to_pydict() else None


def theme_found(ranker: TwinRanker, batches: Iterable[RawBatch], theme: np.ndarray) -> ThemeFound | None:
    """Looks for the target's theme among what the search brings.

    Args:
        ranker: A two-stage model, whose items are numbered from 1.
        batches: Windows.
        theme: From `simulated_themes`.

    Returns:
        None where there is no such target, or the model's training diverged.
    """

    def look(raw: RawBatch) -> tuple[tf.Tensor, tf.Tensor]:
        interest = ranker.score(raw)[1]
        return interest.position, tf.reduce_mean(interest.attended.attention, axis=2)  # each [B, N, K]

    traced = tf.function(look, reduce_retracing=True, autograph=False)
    found, attended = [], []
    for raw in batches:
        position, attention = (values.numpy() for values in traced(raw))
        past = theme[raw["history/item_id"].numpy() - 1]  # [B, L]
        wanted = theme[raw["candidate/item_id"].numpy() - 1]  # [B, N]
        end = raw["candidate/history_end"].numpy()
        for b, n in zip(*np.nonzero(raw["weight"].numpy() > 0), strict=True):
            first = max(end[b, n] - ranker.config.history_length, 0)
            met = np.count_nonzero(past[b, first : end[b, n]] == wanted[b, n])
            if met < _LEAST or end[b, n] - first <= position.shape[2]:
                continue
            of_theme = (position[b, n] >= 0) & (past[b, position[b, n]] == wanted[b, n])
            found.append(100 * np.count_nonzero(of_theme) / min(met, position.shape[2]))
            attended.append(100 * attention[b, n, of_theme].sum())
    if not found or not np.isfinite(attended).all():
        return None
    return ThemeFound(float(np.mean(found)), float(np.mean(attended)), len(found))
