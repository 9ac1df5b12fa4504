"""A display of an experiment's progress, for tests."""


class Counted:
    """A display that remembers which cells were made."""

    def __init__(self) -> None:
        self.expected = 0
        self.made: list[str] = []
        self.shown: set[str] = set()

    def expect(self, cells: int) -> None:
        self.expected += cells

    def start(self, text: str) -> None:
        self.made.append(text)

    def within(self, share: float, text: str) -> None:
        assert 0 <= share <= 1
        self.shown.add(text)

    def done(self) -> None:
        assert len(self.made) <= self.expected
