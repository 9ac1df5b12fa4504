"""Splits by time."""

import dataclasses

from model.errors import UserError

SPLITS = ("train", "eval", "test")


@dataclasses.dataclass(frozen=True)
class SplitConfig:
    """Half-open time ranges of the targets: train, then eval, then test.

    Events before `train_start_ms` are behaviours only; events at or after `end_ms` are dead letters.

    Attributes:
        train_start_ms, eval_start_ms, test_start_ms, end_ms: Borders, milliseconds since 1970.
        feedback_delay_ms: A target sees behaviours with timestamp < its own minus this.
        max_dead_letter_share: Share of a table's rows, in [0, 1], above which dead letters stop the job.
    """

    train_start_ms: int
    eval_start_ms: int
    test_start_ms: int
    end_ms: int
    feedback_delay_ms: int = 0
    max_dead_letter_share: float = 0.05

    def __post_init__(self) -> None:
        """Raises UserError on borders out of order, a negative delay or a share outside [0, 1]."""
        borders = (self.train_start_ms, self.eval_start_ms, self.test_start_ms, self.end_ms)
        if list(borders) != sorted(borders) or self.train_start_ms == self.end_ms:
            raise UserError(
                "split: expected train_start_ms <= eval_start_ms <= test_start_ms <= end_ms, not all equal, "
                f"got {borders}"
            )
        if self.feedback_delay_ms < 0:
            raise UserError(f"split: expected feedback_delay_ms >= 0, got {self.feedback_delay_ms}")
        if not 0 <= self.max_dead_letter_share <= 1:
            raise UserError(f"split: expected max_dead_letter_share in [0, 1], got {self.max_dead_letter_share}")

    def range_of(self, split: str) -> tuple[int, int]:
        """First millisecond of a split, and the first one after it."""
        borders = (self.train_start_ms, self.eval_start_ms, self.test_start_ms, self.end_ms)
        index = SPLITS.index(split)
        return borders[index], borders[index + 1]
