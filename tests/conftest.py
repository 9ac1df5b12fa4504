"""The longest files run first: else one worker runs them at the end while the others have nothing left to do."""

import pytest

_LONGEST = ("test_tfx_pipeline", "test_un_votes_run", "test_tfx_search_features", "test_tfx_twin_v2", "test_interest")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, in their order; all others keep theirs."""
    items.sort(key=lambda item: _LONGEST.index(item.path.stem) if item.path.stem in _LONGEST else len(_LONGEST))
