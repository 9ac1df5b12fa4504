"""One model's versions: which should run, which do, and who uses them."""

import enum
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tensorflow_serving.config import model_server_config_pb2

from serving import publisher
from serving.server.servable import Servable
from serving.server.status import Code, ServingError

_log = logging.getLogger(__name__)

Loader = Callable[[Path], Servable]


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
    """

    number: int
    path: Path
    state: State = State.START
    error: ServingError | None = None
    servable: Servable | None = None
    users: int = 0
    failed_loads: int = 0
    retry_at: float = 0.0


class ServedModel:
    """The versions of one model and their transitions.

    A new version is loaded and warmed up before the old one is unloaded, so there is never a gap; while both are in
    memory it costs both. A version that fails to load leaves the old one serving. A version is unloaded when the last
    request that runs on it has ended.

    Differences from TF Serving: the wait between two attempts to load a broken version blocks neither other models nor
    a newer version, which replaces the broken one at once.

    Args:
        config: Name, base path and version policy of the model.
        loader: Makes a ready servable from a version directory, or raises ServingError.
        max_load_retries: Further attempts after a failed load.
        retry_interval_s: Time between attempts.
    """

    def __init__(
        self,
        config: model_server_config_pb2.ModelConfig,
        loader: Loader,
        max_load_retries: int,
        retry_interval_s: float,
    ) -> None:
        self.config = config
        self._loader = loader
        self._max_load_retries = max_load_retries
        self._retry_interval_s = retry_interval_s
        self._versions: dict[int, Version] = {}
        self._changed = threading.Condition()

    def reconcile(self) -> None:
        """Compares the disk with what is loaded and carries out what differs. Called by one thread only."""
        self._forget_deleted_failures()
        aspired = self._aspired()
        for number, path in aspired.items():
            self._start_if_new(number, path)
        for version in self._with_state(State.LOADING, State.START):
            if version.number not in aspired:
                self._set(version, State.END)
            elif time.monotonic() >= version.retry_at:
                self._load(version)
        available = self._with_state(State.AVAILABLE)
        if not aspired or any(version.number in aspired for version in available):
            for version in available:
                if version.number not in aspired:
                    self._set(version, State.UNLOADING)
        self._free_unused()

    @contextmanager
    def lease(self, number: int | None) -> Iterator[tuple[int, Servable]]:
        """Keeps a version loaded while a request runs.

        Args:
            number: The version; None = the highest available.

        Yields:
            Version number and servable.

        Raises:
            ServingError: NOT_FOUND, no such version is available.
        """
        with self._changed:
            version = self._find_available(number)
            version.users += 1
        try:
            assert version.servable is not None
            yield version.number, version.servable
        finally:
            with self._changed:
                version.users -= 1
                self._changed.notify_all()

    def statuses(self) -> list[Version]:
        """All versions seen since the start, also the unloaded ones, highest first."""
        with self._changed:
            return sorted(self._versions.values(), key=lambda version: -version.number)

    def wait_settled(self, stop: threading.Event) -> list[Version]:
        """Waits until every aspired version is AVAILABLE or has failed for good, and there is at least one.

        Args:
            stop: Ends the wait.

        Returns:
            The versions that failed.
        """
        with self._changed:
            while not stop.is_set():
                known = list(self._versions.values())
                if known and all(version.state in (State.AVAILABLE, State.END) for version in known):
                    return [version for version in known if version.error is not None]
                self._changed.wait(0.1)
        return []

    def close(self) -> None:
        """Unloads everything, after the requests that run have ended."""
        for version in self._with_state(State.AVAILABLE):
            self._set(version, State.UNLOADING)
        with self._changed:
            self._changed.wait_for(lambda: not any(version.users for version in self._versions.values()))
        self._free_unused()

    def _forget_deleted_failures(self) -> None:
        """A broken version that was deleted and comes back is a new one."""
        with self._changed:
            for version in list(self._versions.values()):
                if version.state == State.END and version.error is not None and not version.path.exists():
                    del self._versions[version.number]

    def _aspired(self) -> dict[int, Path]:
        """The versions the policy wants, of those on disk."""
        found = publisher.versions(Path(self.config.base_path))
        policy = self.config.model_version_policy
        kind = policy.WhichOneof("policy_choice")
        if kind == "all":
            return found
        if kind == "specific":
            return {number: found[number] for number in policy.specific.versions if number in found}
        wanted = (policy.latest.num_versions or 1) if kind == "latest" else 1
        return dict(sorted(found.items())[-wanted:])

    def _start_if_new(self, number: int, path: Path) -> None:
        with self._changed:
            known = self._versions.get(number)
            unloaded = known is not None and known.state == State.END and known.error is None
            if known is None or unloaded or known.path != path:
                self._versions[number] = Version(number, path)

    def _load(self, version: Version) -> None:
        self._set(version, State.LOADING)
        started = time.monotonic()
        try:
            version.servable = self._loader(version.path)
        except ServingError as error:
            version.error = error
        except Exception as error:
            _log.exception("loading %s version %d failed", self.config.name, version.number)
            version.error = ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
        else:
            version.error = None
            self._set(version, State.AVAILABLE)
            seconds = time.monotonic() - started
            _log.info("loaded %s version %d in %.1f s", self.config.name, version.number, seconds)
            return
        version.failed_loads += 1
        _log.error("loading %s version %d failed: %s", self.config.name, version.number, version.error)
        if version.failed_loads > self._max_load_retries:
            self._set(version, State.END)
        else:
            version.retry_at = time.monotonic() + self._retry_interval_s

    def _free_unused(self) -> None:
        """Frees versions on their way out that no request uses; the others are looked at again later."""
        for version in self._with_state(State.UNLOADING):
            # No request can come in any more, so once unused is unused for good.
            if version.users == 0 and version.servable is not None:
                version.servable.close()
                version.servable = None
                # The Python graph is full of reference cycles.
                gc.collect()
                self._set(version, State.END)
                _log.info("unloaded %s version %d", self.config.name, version.number)

    def _find_available(self, number: int | None) -> Version:
        available = {v.number: v for v in self._versions.values() if v.state == State.AVAILABLE}
        wanted = max(available, default=None) if number is None else number
        if wanted is None or wanted not in available:
            raise servable_not_found(self.config.name, number)
        return available[wanted]

    def _with_state(self, *states: State) -> list[Version]:
        with self._changed:
            return [version for version in self._versions.values() if version.state in states]

    def _set(self, version: Version, state: State) -> None:
        with self._changed:
            version.state = state
            self._changed.notify_all()


def servable_not_found(name: str, number: int | None) -> ServingError:
    """The NOT_FOUND error of a request for a model or version that is not available."""
    what = f"Latest({name})" if number is None else f"Specific({name}, {number})"
    return ServingError(Code.NOT_FOUND, f"Servable not found for request: {what}")
