"""One simulated user: interests, what the recommender shows, what is clicked and how long it is played."""

import dataclasses

import numpy as np
import pyarrow as pa

from pipelines.simulator.catalog import Catalog
from pipelines.simulator.exposure import expose_again, expose_once

START_MS = 1_672_531_200_000
"""2023-01-01 00:00 UTC."""
HORIZON_DAYS = 400
WEEKS = HORIZON_DAYS // 7 + 2
DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
ACTIVITY = (("low", 0.5), ("medium", 0.9), ("high", 1.1), ("full", 1.5))
"""Activity level and events per user relative to the mean; a quarter of the users each."""

EVENTS_PER_SESSION = 20
PAGE_SIZE = 10
PERSONAL_SHARE = 0.65
RARE_SHARE = 0.65
RARE_EXPOSURE = 0.5
MISTAKEN_SHARE = 0.3
FADING_SHARE = 0.3
AGE_GROUP_BIAS = np.linspace(-0.3, 0.3, 6)


@dataclasses.dataclass(frozen=True)
class Interests:
    """What a user likes and what the recommender shows, week by week; P themes.

    The recommender has found the user's themes but cannot tell liked from disliked ones (three in ten of its guesses
    are wrong). Common themes are shown every week and drift; rare ones are shown one week in every 9 to 26 and never
    change, so that only old behaviours tell whether the user likes them.

    Attributes:
        themes: int64 `[P]`.
        affinity: Added to the click's logit, `[weeks, P]`.
        exposure_cdf: Week + cumulative share of the exposures, ascending when flattened, `[weeks, P]`.
    """

    themes: np.ndarray
    affinity: np.ndarray
    exposure_cdf: np.ndarray


@dataclasses.dataclass(frozen=True)
class UserLog:
    """A user's row and events, in time order.

    Attributes:
        timestamp: ms, strictly ascending, int64 `[E]`.
        click: 0 or 1, int64 `[E]`.
        true_probability: Of the click, float32 `[E]`.
        events: The raw `events` rows.
        features: The raw `users` row.
    """

    timestamp: np.ndarray
    click: np.ndarray
    true_probability: np.ndarray
    events: pa.Table
    features: dict[str, int | str]


def simulate_user(catalog: Catalog, user: int, mean_events: int, seed: int) -> UserLog:
    """Draws one user's whole log; it depends on the arguments alone, not on the users drawn before.

    P(click) = sigmoid(bias of the user + appeal of the item + affinity(theme, week) - 0.05 page position
    - 0.1 ln(duration / 30 s) - 0.6).

    Args:
        catalog: The items.
        user: 0-based number; the user id is one more.
        mean_events: Mean events per user; this user's number also depends on the activity level.
        seed: The simulation's seed.
    """
    rng = np.random.default_rng([seed, 1, user])
    level, factor = ACTIVITY[user % len(ACTIVITY)]
    count = max(1, round(mean_events * factor))
    age_group = int(rng.integers(len(AGE_GROUP_BIAS)))
    bias = 0.4 * rng.standard_normal() + AGE_GROUP_BIAS[age_group]
    interests = _draw_interests(catalog.themes, mean_events, rng)
    timestamp, page_position = _draw_times(count, rng)
    # Every user's weeks begin at a time of their own, else all rare themes would come up at once.
    week = (timestamp - START_MS + rng.integers(WEEK_MS)) // WEEK_MS
    item = _expose(catalog, interests, week, rng)
    affinity = _affinity(catalog, interests, item, week)
    duration = catalog.duration_seconds[item]
    logit = bias + catalog.appeal[item] + affinity - 0.05 * page_position - 0.1 * np.log(duration / 30) - 0.6
    probability = _sigmoid(logit).astype(np.float32)
    click = (rng.random(count) < probability).astype(np.int64)
    completion = _completion(click, affinity, rng)
    liked = click * (rng.random(count) < _sigmoid(affinity - 2.5))
    events = pa.table(
        {
            "user_id": np.full(count, user + 1),
            "item_id": item + 1,
            "timestamp": timestamp,
            "click": click,
            "is_behaviour": (completion > 0).astype(np.int64),
            "play_seconds": (completion * duration).astype(np.float32),
            "completion": completion,
            "liked": liked,
            "page_position": page_position,
            "true_probability": probability,
        }
    )
    features: dict[str, int | str] = {"user_id": user + 1, "age_group": age_group, "activity": level}
    return UserLog(timestamp, click, probability, events, features)


def _draw_interests(themes: int, mean_events: int, rng: np.random.Generator) -> Interests:
    pool = max(4, min(round(2 * mean_events**0.5), themes // 3))
    chosen = rng.choice(themes, pool, replace=False)
    rare = np.arange(pool) >= round(pool * (1 - RARE_SHARE))
    first = _draw_strength(pool, rng)
    fading = ~rare & (rng.random(pool) < FADING_SHARE)
    last = np.where(fading, _draw_strength(pool, rng), first)
    affinity = np.linspace(first, last, WEEKS)  # [weeks, P]
    gap = rng.integers(9, 27, size=pool)
    phase = rng.integers(gap)
    shown = (np.arange(WEEKS)[:, None] + phase) % gap == 0
    walk = np.exp(np.cumsum(0.25 * rng.standard_normal((WEEKS, pool)), axis=0))
    common = np.where(rare, 0.0, walk)
    sparse = np.where(rare & shown, 1.0, 0.0)
    weight = (1 - RARE_EXPOSURE) * _rows_to_one(common) + RARE_EXPOSURE * _rows_to_one(sparse)
    cdf = np.cumsum(_rows_to_one(weight), axis=1)
    return Interests(chosen, affinity, cdf + np.arange(WEEKS)[:, None])


def _draw_strength(count: int, rng: np.random.Generator) -> np.ndarray:
    liked = rng.uniform(1.0, 3.0, size=count)
    disliked = rng.uniform(-2.5, -0.5, size=count)
    return np.where(rng.random(count) < MISTAKEN_SHARE, disliked, liked)


def _draw_times(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    sessions = -(-count // EVENTS_PER_SESSION)
    session = np.sort(rng.integers(sessions, size=count))
    start = np.sort(rng.uniform(0, (HORIZON_DAYS - 1) * DAY_MS, size=sessions))
    in_session = np.arange(count) - np.searchsorted(session, session)
    elapsed = np.cumsum(rng.exponential(20_000, size=count))
    time = (START_MS + start[session] + elapsed - elapsed[np.arange(count) - in_session]).astype(np.int64)
    # Sessions may overlap; a later event is at least one millisecond later all the same.
    steps = np.arange(count)
    return np.maximum.accumulate(time - steps) + steps, in_session % PAGE_SIZE


def _expose(catalog: Catalog, interests: Interests, week: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count = len(week)
    slot = np.searchsorted(interests.exposure_cdf.ravel(), week + rng.random(count), side="right")
    theme = interests.themes[slot % len(interests.themes)]
    personal = rng.random(count) < PERSONAL_SHARE
    expose = expose_once if catalog.feed == "fresh" else expose_again
    return expose(catalog, theme, personal, rng)


def _affinity(catalog: Catalog, interests: Interests, item: np.ndarray, week: np.ndarray) -> np.ndarray:
    by_theme = np.zeros((WEEKS, catalog.themes))
    by_theme[:, interests.themes] = interests.affinity
    return by_theme[week, catalog.theme[item]]


def _completion(click: np.ndarray, affinity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Share of the item played: more with more interest; 0 for what was scrolled past."""
    noise = 0.8 * rng.standard_normal(len(click))
    played = _sigmoid(np.where(click == 1, 0.2, -2.2) + 0.7 * affinity + noise)
    scrolled_past = (click == 0) & (rng.random(len(click)) < _sigmoid(-1.1 - 0.4 * affinity))
    return np.where(scrolled_past, 0.0, played).astype(np.float32)


def _rows_to_one(weight: np.ndarray) -> np.ndarray:
    return weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))
