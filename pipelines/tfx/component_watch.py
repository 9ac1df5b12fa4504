"""Follows a local run through TFX's own log messages: start, end, cache, time and memory of every component."""

import logging
import threading
import time
from types import TracebackType
from typing import Any

import psutil
from absl import logging as absl_logging  # type: ignore[import-untyped]

from pipelines.tfx.progress import emit

_STARTED = "Component %s is running."
_FINISHED = "Component %s is finished."
_CACHED = "A cached execution %d is used."
_SAMPLE_S = 0.25
_GB = 1e9


class ComponentWatch(logging.Handler):
    """Reports each component's progress and keeps its figures; a context manager around the run.

    The log messages are the one thing that tells cached components from finished ones without a runner of our own.

    Attributes:
        components: Component id to `seconds`, `cached` and `peak_rss_gb` (this process and its children).
        running: The component that runs now, or ran when an exception ended the run.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.components: dict[str, dict[str, Any]] = {}
        self.running: str | None = None
        self._logger = logging.getLogger("absl")
        self._started = 0.0
        self._cached = False
        self._peak = 0
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "ComponentWatch":
        self._logger.addHandler(self)
        # absl sets its logger's level anew from its own verbosity now and then.
        absl_logging.set_verbosity(absl_logging.INFO)
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._logger.removeHandler(self)
        self._stop.set()
        self._sampler.join()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a log record; all but three messages are of no interest here."""
        if record.msg == _STARTED and isinstance(record.args, tuple):
            self.running, self._started = str(record.args[0]), time.monotonic()
            self._cached, self._peak = False, _rss()
            emit(self.running, "started")
        elif record.msg == _CACHED:
            self._cached = True
        elif record.msg == _FINISHED and self.running is not None:
            seconds = round(time.monotonic() - self._started, 2)
            self._peak = max(self._peak, _rss())
            peak = round(self._peak / _GB, 2)
            self.components[self.running] = {"seconds": seconds, "cached": self._cached, "peak_rss_gb": peak}
            emit(self.running, "cached" if self._cached else "finished", seconds=seconds)
            self.running = None

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            self._peak = max(self._peak, _rss())


def _rss() -> int:
    process = psutil.Process()
    total = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return int(total)
