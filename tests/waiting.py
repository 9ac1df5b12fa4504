"""What tests that wait for another thread or process share."""

import time
from collections.abc import Callable


def until(condition: Callable[[], bool]) -> None:
    """Waits until the condition holds; fails after a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
