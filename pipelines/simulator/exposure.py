"""Which item a slot of the feed shows."""

import numpy as np

from pipelines.simulator.catalog import Catalog


def expose_again(catalog: Catalog, theme: np.ndarray, personal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Items by popularity, met before or not: of the slot's theme where it is personal, else of the whole catalog.

    Args:
        catalog: The items.
        theme: int64 `[E]`.
        personal: bool `[E]`.
        rng: Draws.

    Returns:
        int64 `[E]`.
    """
    uniform = rng.random(len(theme))
    return np.where(personal, catalog.sample_from_themes(theme, uniform), catalog.sample_popular(uniform))


def expose_once(catalog: Catalog, theme: np.ndarray, personal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Items by popularity, each once as long as there are others.

    Slots that are not personal draw without replacement from the whole catalog; personal ones draw without replacement
    from those of their theme that no other slot of the user's log shows. Who has seen all there is, or all of a theme,
    sees it again in the same order. A draw without replacement by popularity w is the order of Exp(1) / w (Efraimidis
    and Spirakis, 2006). See `expose_again` for the arguments.
    """
    item = np.empty(len(theme), np.int64)
    count = int(np.count_nonzero(~personal))
    everywhere = _order(catalog, rng)[:count]
    item[~personal] = np.resize(everywhere, count)

    order = _order(catalog, rng)
    taken = np.zeros(len(order), bool)
    taken[everywhere] = True
    order = order[np.lexsort((taken[order], catalog.theme[order]))]  # by theme, in it the untaken first
    start = np.searchsorted(catalog.theme[order], np.arange(catalog.themes))
    size = np.bincount(catalog.theme, minlength=catalog.themes)
    untaken = np.bincount(catalog.theme, weights=~taken, minlength=catalog.themes).astype(np.int64)
    of_slot = theme[personal]
    round_of = np.where(untaken > 0, untaken, size)[of_slot]
    item[personal] = order[start[of_slot] + _occurrence(of_slot) % round_of]
    return item


def _order(catalog: Catalog, rng: np.random.Generator) -> np.ndarray:
    return np.argsort(rng.exponential(size=len(catalog.popularity)) / catalog.popularity)


def _occurrence(values: np.ndarray) -> np.ndarray:
    """How often each value stood before: [5, 7, 5] gives [0, 0, 1]."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    occurrence = np.empty(len(values), np.int64)
    occurrence[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return occurrence
