"""The peak of a process's memory over a piece of work."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

_SAMPLE_SECONDS = 0.05


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Samples the resident memory of this process and its children; the list's one value is the peak in bytes."""
    process = psutil.Process()
    peak = [0]
    stop = threading.Event()

    def sample() -> None:
        while True:
            total = 0
            for one in [process, *process.children(recursive=True)]:
                try:
                    total += one.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak[0] = max(peak[0], total)
            if stop.wait(_SAMPLE_SECONDS):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
