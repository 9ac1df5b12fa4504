"""Merges the requests of a servable into batches, as TF Serving's batching session does."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from serving.server.batch_scheduler import BatchQueue, BatchScheduler, Outputs, Task
from serving.server.batching_parameters import BatchingParameters
from serving.server.metrics import (
    INPUT_BATCH_SIZE,
    PADDING_SIZE,
    PROCESSED_BATCH_SIZE,
    QUEUING_LATENCY,
    WRAPPED_RUN_COUNT,
)
from serving.server.serving_error import Code, ServingError, invalid

Array = NDArray[np.generic]
Run = Callable[[Mapping[str, Array], Sequence[str], int], list[Array]]
_MAX_RANK = 6


class BatchingSession:
    """Runs requests of equal inputs and outputs together.

    One request that the graph refuses fails every request of its batch, as in TF Serving.

    Difference from TF Serving: a request whose deadline passed while it waited is refused and not run; TF Serving runs
    it when another request of its batch is still in time.

    Args:
        run: Runs the graph: feeds, fetches and timeout in ms (0 = none) to values in the order of the fetches.
        scheduler: The threads, shared by all models.
        parameters: Sizes and times.
    """

    def __init__(self, run: Run, scheduler: BatchScheduler, parameters: BatchingParameters) -> None:
        self._run = run
        self._scheduler = scheduler
        self._parameters = parameters
        self._queues: dict[tuple[frozenset[str], frozenset[str]], BatchQueue] = {}
        self._lock = threading.Lock()

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str], timeout_ms: int = 0) -> list[Array]:
        """Runs a request in a batch with others; arguments as of `Servable.run`.

        Raises:
            ServingError: INVALID_ARGUMENT, a scalar input, unequal dimensions 0, or more rows than allowed;
                UNAVAILABLE, the queue is full; RESOURCE_EXHAUSTED, the deadline passed in the queue;
                FAILED_PRECONDITION, requests or outputs that do not fit together; or what the graph raised.
        """
        size = _batch_size(feeds)
        for _ in feeds:
            INPUT_BATCH_SIZE.add(size)
        now = time.monotonic()
        task = Task(feeds, size, now + timeout_ms / 1000 if timeout_ms > 0 else None, now)
        parts = self._scheduler.submit(self._queue(feeds, fetches), task)
        results = [part.result.result() for part in parts]
        if len(results) == 1:
            return [results[0][name] for name in fetches]
        return [np.concatenate([result[name] for result in results]) for name in fetches]

    def _queue(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> BatchQueue:
        key = (frozenset(feeds), frozenset(fetches))
        with self._lock:
            if key not in self._queues:
                names = sorted(key[1])
                self._queues[key] = BatchQueue(self._parameters, lambda batch: self._process(names, batch))
            return self._queues[key]

    def _process(self, fetches: list[str], batch: list[Task]) -> None:
        now = time.monotonic()
        waiting = []
        for task in batch:
            QUEUING_LATENCY.add((now - task.enqueued) * 1e6, "")
            if task.deadline is not None and task.deadline <= now:
                message = "Run() timeout exceeded while waiting in batching queue"
                task.result.set_exception(ServingError(Code.RESOURCE_EXHAUSTED, message))
            else:
                waiting.append(task)
        if not waiting:
            return
        try:
            answers = self._answers(fetches, waiting, now)
        except Exception as error:
            for task in waiting:
                # Each its own, as each is raised in a thread of its own.
                task.result.set_exception(_copy(error))
        else:
            for task, answer in zip(waiting, answers, strict=True):
                task.result.set_result(answer)

    def _answers(self, fetches: list[str], batch: list[Task], now: float) -> list[Outputs]:
        size = sum(task.size for task in batch)
        # Without rows there is none to repeat.
        padded = self._parameters.padded_size(size) if size else 0
        PADDING_SIZE.add(padded - size, str(padded))
        PROCESSED_BATCH_SIZE.add(padded)
        feeds = {
            name: _merged(name, [task.feeds[name] for task in batch], padded - size, self._parameters)
            for name in batch[0].feeds
        }
        WRAPPED_RUN_COUNT.increment()
        values = self._run(feeds, fetches, _timeout_ms(batch, now))
        for value in values:
            if value.ndim == 0:
                raise ServingError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
            if len(value) != padded:
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                    "input tensors",
                )
        ends = np.cumsum([task.size for task in batch]).tolist()
        return [
            {name: value[end - task.size : end] for name, value in zip(fetches, values, strict=True)}
            for task, end in zip(batch, ends, strict=True)
        ]


def _batch_size(feeds: Mapping[str, Array]) -> int:
    if not feeds:
        raise invalid("Batching Run() must have at least one input tensor")
    if any(value.ndim == 0 for value in feeds.values()):
        raise invalid("Batching Run() input tensors must have at least one dimension")
    sizes = {len(value) for value in feeds.values()}
    if len(sizes) > 1:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def _timeout_ms(batch: list[Task], now: float) -> int:
    deadlines = [task.deadline for task in batch]
    if any(deadline is None for deadline in deadlines):
        return 0
    return max(1, int((max(deadline for deadline in deadlines if deadline is not None) - now) * 1000))


def _merged(name: str, values: list[Array], padding: int, parameters: BatchingParameters) -> Array:
    """One input of a whole batch: the tasks' rows, then `padding` times the first row of the last task with rows."""
    shapes = {value.shape[1:] for value in values}
    if len(shapes) > 1:
        if not parameters.pad_variable_length_inputs or len({len(shape) for shape in shapes}) > 1:
            raise ServingError(
                Code.FAILED_PRECONDITION,
                f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off. Set "
                "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal "
                "dimensions starting with the first dim.",
            )
        longest = np.max(np.array(list(shapes)), axis=0)
        values = [_lengthened(value, longest.tolist()) for value in values]
    if padding:
        last = next(value for value in reversed(values) if len(value))
        values = [*values, np.repeat(last[:1], padding, axis=0)]
    return values[0] if len(values) == 1 else np.concatenate(values)


def _lengthened(value: Array, longest: list[int]) -> Array:
    missing = [(0, wanted - length) for wanted, length in zip(longest, value.shape[1:], strict=True)]
    if not any(after for _, after in missing):
        return value
    if value.ndim > _MAX_RANK:
        raise invalid("Only tensors with rank from 1 to 6 can be padded.")
    if value.size == 0:
        raise invalid("Got empty tensor in batch of non-empty tensors.")
    return np.pad(value, [(0, 0), *missing], constant_values=value.flat[0])


def _copy(error: Exception) -> Exception:
    if isinstance(error, ServingError):
        return ServingError(error.code, error.message)
    return ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
