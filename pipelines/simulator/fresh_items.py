"""What makes items of the fresh feed less telling than the recurring feed's, as the TWIN paper describes its own.

- Nobody has more than a small share of the catalog.
- Topics are hashtags: everybody has a habit of spelling each (eight ways), so likeness has to be learned, where equal
  words are found by any index.
- There are 37 categories, as the paper's SIM Hard has, and one item in five has a wrong one: "the video category
  used for retrieval is sometimes not reliable in short video RS" (section 4.4).
"""

import numpy as np

CATEGORIES = 37
WRONG_CATEGORY_SHARE = 0.2
SPELLINGS = 8
_AUTHOR_EXPONENT = 0.6


def draw_authors(items: int, authors: int, rng: np.random.Generator) -> np.ndarray:
    """Authors int64 `[I]`, the r-th most productive in proportion to r^-0.6: of 25,000 the first has 0.7 %."""
    weight = (1.0 + np.arange(authors)) ** -_AUTHOR_EXPONENT
    return rng.choice(authors, size=items, p=weight / weight.sum())


def draw_categories(theme: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Categories 1 to 37 of items of themes int64 `[I]`."""
    wrong = rng.random(len(theme)) < WRONG_CATEGORY_SHARE
    return 1 + np.where(wrong, rng.integers(CATEGORIES, size=len(theme)), theme % CATEGORIES)


def spell(topics: np.ndarray, author: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hashtags of topics int64 `[I, n]`: each author int64 `[I]` spells a topic in one of eight ways, always alike."""
    habit = rng.integers(SPELLINGS, size=(author.max() + 1, topics.max() + 1))
    return topics * SPELLINGS + habit[author[:, np.newaxis], topics]
