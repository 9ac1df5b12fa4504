"""Forms batches of tasks and runs them on a few threads."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serving.server.batching_parameters import BatchingParameters
from serving.server.serving_error import Code, ServingError, invalid

# A condition refuses to wait for centuries.
_LONGEST_WAIT_S = 3600.0

Outputs = Mapping[str, NDArray[np.generic]]


@dataclass
class Task:
    """Some rows that are to run in one batch.

    Attributes:
        feeds: Tensor name to value.
        size: Rows, dimension 0 of every value.
        deadline: `time.monotonic()` after which nobody waits for it any more; None = for ever.
        enqueued: `time.monotonic()` when it was queued.
        result: The task's own rows of every output, or why there are none.
    """

    feeds: Mapping[str, NDArray[np.generic]]
    size: int
    deadline: float | None
    enqueued: float
    result: "Future[Outputs]" = field(default_factory=Future)


class BatchQueue:
    """Tasks that fit together: of one model and the same inputs and outputs.

    The last batch is open: it takes tasks until it is full or its time is over. All methods are called under the
    scheduler's lock.

    Args:
        parameters: Sizes and times.
        process: Runs a batch and answers each of its tasks; must not raise.
    """

    def __init__(self, parameters: BatchingParameters, process: Callable[[list[Task]], None]) -> None:
        self.parameters = parameters
        self.process = process
        self._batches: deque[list[Task]] = deque([[]])
        self._open_size = 0
        self._open_since = 0.0

    def add(self, task: Task) -> list[Task]:
        """Queues a task.

        Returns:
            The tasks it became: itself, or the parts it was split into.

        Raises:
            ServingError: INVALID_ARGUMENT, it is too large; UNAVAILABLE, the queue is full.
        """
        self._check_room(task.size)
        room = self.parameters.execution_batch_size - self._open_size
        splits = self.parameters.enable_large_batch_splitting and task.size > room
        parts = self._split(task, room) if splits else [task]
        for part in parts:
            if self._open_size + part.size > self.parameters.execution_batch_size:
                self._open_next()
            if not self._batches[-1]:
                self._open_since = part.enqueued
            self._batches[-1].append(part)
            self._open_size += part.size
        return parts

    def take(self, now: float) -> list[Task] | None:
        """The next batch that may run at `now`, or None."""
        if len(self._batches) == 1 and self._batches[0] and now >= self.ready_at():
            self._open_next()
        return self._batches.popleft() if len(self._batches) > 1 else None

    def ready_at(self) -> float:
        """When the first batch may run: at once where it is full, else when it has waited long enough."""
        if len(self._batches) > 1 or self._open_size >= self.parameters.execution_batch_size:
            return 0.0
        return self._open_since + self.parameters.batch_timeout_micros / 1e6

    def is_empty(self) -> bool:
        """Whether no task waits."""
        return len(self._batches) == 1 and not self._batches[0]

    def _open_next(self) -> None:
        self._batches.append([])
        self._open_size = 0

    def _check_room(self, size: int) -> None:
        limits = self.parameters
        full = "The batch scheduling queue to which this task was submitted is full; "
        waiting = len(self._batches)
        if size > limits.max_batch_size:
            raise invalid(f"Task size {size} is larger than maximum input batch size {limits.max_batch_size}")
        if limits.enable_large_batch_splitting:
            most = limits.execution_batch_size
            room = (limits.max_enqueued_batches - waiting) * most + most - self._open_size
            if size > room:
                raise ServingError(
                    Code.UNAVAILABLE,
                    f"{full}task size is {size} but scheduling capacity is only {room} "
                    f"(num_enqueued_batches={waiting}, max_enqueued_batches={limits.max_enqueued_batches}, "
                    f"open_batch_size={self._open_size}, max_execution_batch_size={most})",
                )
        elif self._open_size + size > limits.max_batch_size and waiting >= limits.max_enqueued_batches:
            raise ServingError(
                Code.UNAVAILABLE,
                f"{full}currently {waiting} batches enqueued and max_enqueued_batches is {limits.max_enqueued_batches}",
            )

    def _split(self, task: Task, room: int) -> list[Task]:
        most = self.parameters.execution_batch_size
        starts = [0, *range(room, task.size, most)] if room > 0 else list(range(0, task.size, most))
        parts = []
        for start, end in zip(starts, [*starts[1:], task.size], strict=True):
            feeds = {name: value[start:end] for name, value in task.feeds.items()}
            parts.append(Task(feeds, end - start, task.deadline, task.enqueued))
        return parts


class BatchScheduler:
    """Runs the batches of many queues on a fixed number of threads, the queues in turn.

    Args:
        threads: Batches that run at once.
    """

    def __init__(self, threads: int) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[BatchQueue] = deque()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, queue: BatchQueue, task: Task) -> list[Task]:
        """Queues a task; see `BatchQueue.add`."""
        with self._changed:
            was_empty = queue.is_empty()
            parts = queue.add(task)
            if was_empty:
                self._waiting.append(queue)
            self._changed.notify(len(parts))
        return parts

    def close(self) -> None:
        """Ends the threads; nothing may wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        # Each batch in a call of its own: while it waits, a thread must not keep the last one's model in memory.
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        with self._changed:
            found = None
            while found is None:
                if self._closed:
                    return False
                now = time.monotonic()
                found = self._take(now)
                if found is None:
                    soonest = min((queue.ready_at() for queue in self._waiting), default=None)
                    self._changed.wait(None if soonest is None else min(max(0.0, soonest - now), _LONGEST_WAIT_S))
        queue, batch = found
        queue.process(batch)
        return True

    def _take(self, now: float) -> tuple[BatchQueue, list[Task]] | None:
        for _ in range(len(self._waiting)):
            queue = self._waiting.popleft()
            batch = queue.take(now)
            if not queue.is_empty():
                self._waiting.append(queue)
            if batch is not None:
                return queue, batch
        return None
