"""Counts requests and their times."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from serving.server.metrics import (
    EXAMPLE_COUNT_TOTAL,
    EXAMPLE_COUNTS,
    REQUEST_COUNT,
    REQUEST_LATENCY,
    RUNTIME_LATENCY,
)
from serving.server.serving_error import Code, ServingError

_LONGEST_NAME = 256


class _Runs(threading.local):
    """Time the graph ran for the request this thread is at, in microseconds."""

    micros = 0.0


_runs = _Runs()


def add_run(micros: float) -> None:
    """Adds to the time the graph ran for this thread's request."""
    _runs.micros += micros


def begin_request() -> int:
    """Starts a request on this thread; gives the time at which it began, for `end_request`."""
    _runs.micros = 0.0
    return time.perf_counter_ns()


def end_request(began: int, model: str, api: str, entrypoint: str, status: str) -> None:
    """Counts a request.

    Args:
        began: What `begin_request` gave.
        model: The model's name as the client sent it.
        api: Predict, Classify, Regress or MultiInference; REST: predict, classify, regress.
        entrypoint: GRPC or REST.
        status: Name of the status code.
    """
    model = model[:_LONGEST_NAME]
    # MultiInference has no request metrics in TF Serving.
    if api != "MultiInference":
        REQUEST_COUNT.increment(model, status)
    if status != "OK":
        return
    if api != "MultiInference":
        REQUEST_LATENCY.add((time.perf_counter_ns() - began) // 1000, model, api, entrypoint)
    RUNTIME_LATENCY.add(int(_runs.micros), model, api[:1].upper() + api[1:], "TF1")


@contextmanager
def counted_request(model: str, api: str, entrypoint: str) -> Iterator[None]:
    """Counts the request that is handled inside the `with`; arguments as of `end_request`."""
    began = begin_request()
    status = Code.INTERNAL
    try:
        yield
        status = Code.OK
    except ServingError as error:
        status = error.code
        raise
    finally:
        end_request(began, model, api, entrypoint, status.name)


def count_examples(model: str, count: int) -> None:
    """Counts the examples of a Classify, Regress or MultiInference request."""
    EXAMPLE_COUNTS.add(count, model[:_LONGEST_NAME])
    EXAMPLE_COUNT_TOTAL.increment(model[:_LONGEST_NAME], by=count)
