"""Which servable a training may start from. What a warm start does is tested with the training."""

import json
from pathlib import Path

import pytest

from model.warm_start import why_cold

DAY_MS = 86_400_000


def servable(folder: Path, **about: int | None) -> Path:
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "assets.extra" / "twin.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize(
    ("trained_before", "told"),
    [
        (9, None),
        (10, None),
        (11, "up to 1970-01-12 00:00:00 UTC, this train split starts at 1970-01-11 00:00:00 UTC"),
        (20, "up to 1970-01-21 00:00:00 UTC, this train split starts at 1970-01-11 00:00:00 UTC"),
        (21, "up to 1970-01-22 00:00:00 UTC, this eval split starts at 1970-01-21 00:00:00 UTC"),
    ],
)
def test_no_target_is_learned_twice_or_judged_after_it_was_learned(
    trained_before: int, told: str | None, tmp_path: Path
) -> None:
    base = servable(tmp_path / "base", trained_before_ms=trained_before * DAY_MS)
    reason = why_cold(base, 10 * DAY_MS, 20 * DAY_MS)
    assert told in reason if told and reason else reason == told, reason


@pytest.mark.parametrize("about", [{}, {"trained_before_ms": None}])
def test_a_model_that_does_not_say_is_not_started_from(about: dict[str, None], tmp_path: Path) -> None:
    assert "does not say" in str(why_cold(servable(tmp_path / "base", **about), 10, 20))
