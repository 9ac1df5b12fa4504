"""A version of a model and where it is in its life."""

import enum
from dataclasses import dataclass
from pathlib import Path

from serving.server.servable import Servable
from serving.server.serving_error import ServingError


class State(enum.IntEnum):
    """States of a version, numbered as in `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass
class Version:
    """A version the server knows.

    Attributes:
        number: The version number.
        path: Its directory.
        state: Where it is in its life.
        error: Why its last load failed, else None.
        servable: The loaded model while AVAILABLE or UNLOADING.
        users: Requests that run on it now.
        failed_loads: Loads that failed since it appeared.
        retry_at: `time.monotonic()` of the next attempt while LOADING.
        was_unwanted: The policy did without it at some time.
    """

    number: int
    path: Path
    state: State = State.START
    error: ServingError | None = None
    servable: Servable | None = None
    users: int = 0
    failed_loads: int = 0
    retry_at: float = 0.0
    was_unwanted: bool = False

    def is_settled(self, another_serves: bool) -> bool:
        """Whether nobody needs to wait for it: it serves, it has failed for good, or for once where another serves."""
        failed = self.error is not None and (self.state == State.END or another_serves)
        return failed or self.state == State.AVAILABLE
