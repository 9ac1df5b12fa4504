"""One model's versions: which should run, which do, and who uses them."""

import copy
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.server.aspired import aspired_versions
from serving.server.model_config import Config
from serving.server.servable import Servable
from serving.server.serving_error import Code, ServingError
from serving.server.version import State, Version

_log = logging.getLogger(__name__)

Loader = Callable[[Path], Servable]


class ServedModel:
    """The versions of one model and their transitions.

    A new version is loaded and warmed up before the old one is unloaded, so there is never a gap; while both are in
    memory it costs both. A version that fails to load leaves the old one serving. A version is unloaded when the last
    request that runs on it has ended. A number that is loaded stays as it is, whatever happens to its directory, until
    it is no longer wanted.

    Differences from TF Serving: the wait between two attempts to load a broken version blocks neither other models nor
    a newer version, which replaces the broken one at once.

    Args:
        name: The model.
        loader: Makes a ready servable from a version directory, or raises ServingError.
        max_load_retries: Further attempts after a failed load.
        retry_interval_s: Time between attempts.
    """

    def __init__(self, name: str, loader: Loader, max_load_retries: int, retry_interval_s: float) -> None:
        self.name = name
        self.config: Config | None = None
        self._loader = loader
        self._max_load_retries = max_load_retries
        self._retry_interval_s = retry_interval_s
        self._versions: dict[int, Version] = {}
        # None: the disk was not looked at since the configuration changed.
        self._aspired: dict[int, Path] | None = None
        self._last_problem = ""
        self._changed = threading.Condition()

    def configure(self, config: Config | None) -> None:
        """Changes base path and version policy.

        Args:
            config: The new configuration; None = the model is no longer served.
        """
        with self._changed:
            if config != self.config:
                # A copy: the caller may change its own for the next configuration.
                self.config = None if config is None else copy.deepcopy(config)
                self._aspired = None
                self._changed.notify_all()

    def reconcile(self, look: bool = True) -> None:
        """Compares what should run with what does and carries out what differs. Called by one thread at a time.

        Args:
            look: Look at the disk; else only if that was not done since the configuration changed.
        """
        with self._changed:
            config = self.config
            unknown = self._aspired is None
        if look or unknown:
            self._look(config)
        self._start_wanted(config)
        self._unload_unwanted(config)
        for version in self._due(config):
            if self.config is not config:
                break
            self._load(version)
        self._unload_unwanted(config)
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

    def is_available(self, number: int) -> bool:
        """Whether requests for this version are answered."""
        with self._changed:
            return number in self._versions and self._versions[number].state == State.AVAILABLE

    def statuses(self) -> list[Version]:
        """All versions seen since the start, also the unloaded ones, highest first."""
        with self._changed:
            return sorted(self._versions.values(), key=lambda version: -version.number)

    def wait_settled(self, ended: Callable[[], bool]) -> list[Version]:
        """Waits until a version is AVAILABLE and no other one loads for the first time, or all have failed for good.

        Args:
            ended: Whether to wait no longer; so does the removal of the model.

        Returns:
            The versions that failed if none is AVAILABLE, else nothing.
        """
        with self._changed:
            while not ended() and self.config is not None:
                wanted = [self._versions[number] for number in self._aspired or () if number in self._versions]
                serves = any(version.state == State.AVAILABLE for version in wanted)
                if wanted and all(version.is_settled(serves) for version in wanted):
                    return [] if serves else wanted
                self._changed.wait(0.1)
        return []

    def close(self) -> None:
        """Unloads everything, after the requests that run have ended."""
        for version in self._with_state(State.AVAILABLE):
            self._set(version, State.UNLOADING)
        with self._changed:
            self._changed.wait_for(lambda: not any(version.users for version in self._versions.values()))
        self._free_unused()

    def _look(self, config: Config | None) -> None:
        """Finds out what should run, unless the disk cannot be read: a lost mount must not unload what serves."""
        try:
            wanted = aspired_versions(config)
        except (OSError, ServingError) as error:
            if str(error) != self._last_problem:
                _log.error("looking for versions of %s failed: %s", self.name, error)
            self._last_problem = str(error)
            return
        self._last_problem = ""
        with self._changed:
            if self.config is config:
                self._aspired = wanted

    def _wanted(self, config: Config | None) -> dict[int, Path] | None:
        """What should run; None where that is not known, or by now depends on another configuration."""
        return self._aspired if self.config is config else None

    def _start_wanted(self, config: Config | None) -> None:
        """A version that ended starts anew if it was unloaded, or was unwanted for a while after it had failed."""
        with self._changed:
            wanted = self._wanted(config)
            if wanted is None:
                return
            for number, path in wanted.items():
                known = self._versions.get(number)
                if known is None or (known.state == State.END and (known.error is None or known.was_unwanted)):
                    self._versions[number] = Version(number, path)
            for number, version in self._versions.items():
                if number not in wanted:
                    version.was_unwanted = True
            self._changed.notify_all()

    def _due(self, config: Config | None) -> list[Version]:
        """The wanted versions whose next load is due, highest first; those that are no longer wanted end."""
        with self._changed:
            wanted = self._wanted(config)
            if wanted is None:
                return []
            due = []
            for version in self._with_state(State.START, State.LOADING):
                if version.number not in wanted:
                    self._set(version, State.END)
                elif time.monotonic() >= version.retry_at:
                    due.append(version)
        return sorted(due, key=lambda version: -version.number)

    def _unload_unwanted(self, config: Config | None) -> None:
        """Unwanted versions serve on until a wanted one does."""
        with self._changed:
            wanted = self._wanted(config)
            if wanted is None:
                return
            available = self._with_state(State.AVAILABLE)
            if wanted and not any(version.number in wanted for version in available):
                return
            for version in available:
                if version.number not in wanted:
                    self._set(version, State.UNLOADING)

    def _load(self, version: Version) -> None:
        self._set(version, State.LOADING)
        started = time.monotonic()
        try:
            version.servable = self._loader(version.path)
        except ServingError as error:
            version.error = error
        except Exception as error:
            _log.exception("loading %s version %d failed", self.name, version.number)
            version.error = ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
        else:
            version.error = None
            self._set(version, State.AVAILABLE)
            seconds = time.monotonic() - started
            _log.info("loaded %s version %d in %.1f s", self.name, version.number, seconds)
            return
        version.failed_loads += 1
        _log.error("loading %s version %d failed: %s", self.name, version.number, version.error)
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
                _log.info("unloaded %s version %d", self.name, version.number)

    def _find_available(self, number: int | None) -> Version:
        available = {v.number: v for v in self._versions.values() if v.state == State.AVAILABLE}
        wanted = max(available, default=None) if number is None else number
        if wanted is None or wanted not in available:
            raise servable_not_found(self.name, number)
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
