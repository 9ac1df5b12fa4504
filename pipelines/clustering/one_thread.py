"""Numeric libraries of one thread: sums of several depend on their number."""

import contextlib
import functools
import threading
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limits the numeric libraries to one thread, as long as any thread of the process is inside."""
    # OpenMP's limit is each thread's own, that of BLAS the whole process's.
    with _BLAS, _libraries("openmp").limit(limits=1):
        yield


class _SharedLimit:
    """BLAS's limit: the first one in sets it, the last one out lifts it, if threadpoolctl lets its thread do so."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._limit = _libraries("blas").limit(limits=1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limit.restore_original_limits()


@functools.cache
def _libraries(user_api: str) -> ThreadpoolController:
    return ThreadpoolController().select(user_api=user_api)


_BLAS = _SharedLimit()
