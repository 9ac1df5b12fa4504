"""What a scenario found."""

from collections.abc import Callable
from dataclasses import dataclass, field

Figure = float | int | str

# Called with what is going on and the seconds that are left of the scenario.
Say = Callable[[str, float], None]


@dataclass(frozen=True)
class Check:
    """A promise and whether it was kept.

    Attributes:
        promise: In words.
        value: What was measured.
        limit: What was promised, as text: "0", "<= 2".
        passed: Whether it was kept.
        depends_on_speed: A busy machine can break it.
    """

    promise: str
    value: Figure
    limit: str
    passed: bool
    depends_on_speed: bool = False


@dataclass
class Outcome:
    """Figures and promises of one scenario; units are in the figures' names."""

    scenario: str
    figures: dict[str, Figure] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def exactly(self, promise: str, value: Figure, expected: Figure) -> None:
        """Adds a promise of one value."""
        self.checks.append(Check(promise, value, str(expected), value == expected))

    def at_most(self, promise: str, value: float, limit: float, depends_on_speed: bool = False) -> None:
        """Adds a promise of an upper limit."""
        self.checks.append(Check(promise, value, f"<= {limit:g}", value <= limit, depends_on_speed))

    def at_least(self, promise: str, value: float, limit: float, depends_on_speed: bool = False) -> None:
        """Adds a promise of a lower limit."""
        self.checks.append(Check(promise, value, f">= {limit:g}", value >= limit, depends_on_speed))

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return all(check.passed for check in self.checks)
