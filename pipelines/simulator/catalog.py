"""The simulated catalog: items with authors, topics, durations and a latent theme nobody but the simulator sees."""

import dataclasses
from typing import Literal

import numpy as np
import pyarrow as pa

from pipelines.simulator import fresh_items

Feed = Literal["recurring", "fresh"]
"""Which feed is simulated: one whose items come again and again, or one that shows everybody new ones."""

ITEMS_PER_THEME = 20
MAX_THEMES = 1_000
ITEMS_PER_AUTHOR = 8
OWN_THEME_SHARE = 0.9
TOPIC_SHOWN_SHARE = 0.95
STRAY_TOPIC_SHARE = 0.1
TOPICS_PER_THEME = 3


@dataclasses.dataclass(frozen=True)
class Catalog:
    """Items 0 ... I-1 (item id = index + 1).

    A theme is what users like or not. It shows through the author (nine in ten of an author's items have the author's
    theme) and the topics (each theme is a set of three, each shown on most of its items).

    Attributes:
        feed: Which feed shows them.
        themes: Number of themes.
        theme: Latent theme, int64 `[I]`.
        author: int64 `[I]`.
        duration_seconds: float32 `[I]`, log-normal around 30.
        appeal: What every user likes about the item (logit), `[I]`.
        topics: list<int64> array of length I.
        category: Editor's category of a fresh feed's item, int64 `[I]`; None in the recurring feed.
        popularity: Weight of a draw, `[I]`.
        popularity_cdf: Cumulative Zipf popularity over all items, `[I]`.
        by_theme: Item indices sorted by theme, `[I]`.
        by_theme_cdf: For `by_theme`: theme + cumulative popularity within the theme, ascending, `[I]`.
    """

    feed: Feed
    themes: int
    theme: np.ndarray
    author: np.ndarray
    duration_seconds: np.ndarray
    appeal: np.ndarray
    topics: pa.ListArray
    category: np.ndarray | None
    popularity: np.ndarray
    popularity_cdf: np.ndarray
    by_theme: np.ndarray
    by_theme_cdf: np.ndarray

    def sample_popular(self, uniform: np.ndarray) -> np.ndarray:
        """Items by overall popularity, one for each number of `uniform` in [0, 1)."""
        return np.minimum(np.searchsorted(self.popularity_cdf, uniform, side="right"), len(self.theme) - 1)

    def sample_from_themes(self, themes: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Items by popularity within the given themes, one for each number of `uniform` in [0, 1)."""
        rows = np.searchsorted(self.by_theme_cdf, themes + uniform, side="right")
        return self.by_theme[np.minimum(rows, len(self.by_theme) - 1)]

    def to_table(self) -> pa.Table:
        """The raw `items` table."""
        columns = {
            "item_id": np.arange(1, len(self.theme) + 1),
            "author_id": self.author,
            "topics": self.topics,
            "duration_seconds": self.duration_seconds,
        }
        return pa.table(columns if self.category is None else columns | {"category": self.category})


def make_catalog(items: int, seed: int, feed: Feed = "recurring") -> Catalog:
    """Draws the catalog; the same arguments give the same catalog.

    Of the recurring feed's items more than a third are one author's, and the items of a theme have nearly the same
    topics. In what the fresh feed differs, `pipelines.simulator.fresh_items` says.
    """
    rng = np.random.default_rng([seed, 0])
    themes = min(max(items // ITEMS_PER_THEME, 8), MAX_THEMES)
    authors = max(items // ITEMS_PER_AUTHOR, themes)
    drawn = fresh_items.draw_authors(items, authors, rng) if feed == "fresh" else rng.zipf(1.6, size=items) % authors
    # Every author has an item, so every theme has one too.
    author = np.where(np.arange(items) < authors, np.arange(items), drawn)
    stray = rng.random(items) > OWN_THEME_SHARE
    stray[:themes] = False
    theme = np.where(stray, rng.integers(themes, size=items), author % themes)
    popularity = (1.0 + rng.permutation(items)) ** -1.0
    by_theme = np.argsort(theme, kind="stable")
    return Catalog(
        feed=feed,
        themes=themes,
        theme=theme,
        author=1 + author,
        duration_seconds=np.clip(30 * np.exp(0.9 * rng.standard_normal(items)), 3, 900).astype(np.float32),
        appeal=0.35 * rng.standard_normal(items),
        topics=_topics(theme, author if feed == "fresh" else None, themes, rng),
        category=fresh_items.draw_categories(theme, rng) if feed == "fresh" else None,
        popularity=popularity,
        popularity_cdf=np.cumsum(popularity) / popularity.sum(),
        by_theme=by_theme,
        by_theme_cdf=_cdf_within_groups(theme[by_theme], popularity[by_theme]),
    )


def _topics(theme: np.ndarray, speller: np.ndarray | None, themes: int, rng: np.random.Generator) -> pa.ListArray:
    topics = max(8, themes // 8)
    topics_of_theme = np.stack([rng.choice(topics, TOPICS_PER_THEME, replace=False) for _ in range(themes)])
    candidates = np.column_stack([topics_of_theme[theme], rng.integers(topics, size=len(theme))])  # [I, 4]
    shown = rng.random(candidates.shape) < np.array([TOPIC_SHOWN_SHARE] * TOPICS_PER_THEME + [STRAY_TOPIC_SHARE])
    shown[:, 0] |= ~shown.any(axis=1)
    stray_is_own = (candidates[:, -1:] == candidates[:, :-1]).any(axis=1)
    shown[:, -1] &= ~stray_is_own
    if speller is not None:
        candidates = fresh_items.spell(candidates, speller, rng)
    offsets = np.concatenate([[0], np.cumsum(shown.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, candidates[shown].astype(np.int64))


def _cdf_within_groups(group: np.ndarray, weight: np.ndarray) -> np.ndarray:
    total = np.cumsum(weight)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    before = np.concatenate([[0.0], total])[starts]
    ends = np.append(starts[1:], len(group)) - 1
    sizes = ends - starts + 1
    return group + (total - np.repeat(before, sizes)) / np.repeat(total[ends] - before, sizes)
