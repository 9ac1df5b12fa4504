"""How requests are merged into batches: the parameters, and the queue that they shape."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.server.batch_scheduler import BatchQueue, Task
from serving.server.batching_parameters import (
    BatchingParameters,
    read_batching_parameters,
    server_batching_parameters,
)
from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions
from serving.server.serving_error import Code, ServingError
from serving.server.text_proto import TextProtoError
from tests.test_server_batching import FOR_EVER, parameters_file


def task(size: int, enqueued: float = 0.0) -> Task:
    return Task({"x": np.arange(size)}, size, None, enqueued)


def test_parameters_file(tmp_path: Path) -> None:
    file = parameters_file(
        tmp_path,
        """max_batch_size { value: 16 } batch_timeout_micros { value: 1500 } max_enqueued_batches { value: 3 }
        num_batch_threads { value: 2 } thread_pool_name { value: "pool" } allowed_batch_sizes: 4
        allowed_batch_sizes: 8 pad_variable_length_inputs: true enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 8 }""",
    )
    assert read_batching_parameters(file) == BatchingParameters(16, 1500, 3, 2, (4, 8), True, True, 8)


def test_parameters_that_are_left_out_have_tf_servings_defaults(tmp_path: Path) -> None:
    found = read_batching_parameters(parameters_file(tmp_path, "max_batch_size { value: 16 }"))
    assert found == BatchingParameters(max_batch_size=16)
    assert (BatchingParameters().max_batch_size, found.batch_timeout_micros, found.max_enqueued_batches) == (
        1000,
        0,
        10,
    )
    # A value that is named counts even where it is the type's zero.
    zero = read_batching_parameters(parameters_file(tmp_path, "max_enqueued_batches { value: 0 }"))
    assert zero.max_enqueued_batches == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size must be positive; was 0"),
        ({"batch_timeout_micros": -1}, "batch_timeout_micros must be non-negative; was -1"),
        ({"num_batch_threads": 0}, "num_batch_threads must be positive; was 0"),
        ({"max_enqueued_batches": -1}, "max_enqueued_batches must be positive; was -1"),
        (
            {"max_batch_size": 8, "allowed_batch_sizes": (2, 4)},
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        (
            {"max_batch_size": 8, "allowed_batch_sizes": (4, 2, 8)},
            "allowed_batch_sizes entries must be monotonically increasing",
        ),
        (
            {
                "max_batch_size": 16,
                "allowed_batch_sizes": (4, 16),
                "enable_large_batch_splitting": True,
                "max_execution_batch_size": 8,
            },
            "Last entry in allowed_batch_sizes must be equal to max_execution_batch_size; last entry was 16; "
            "expected 8",
        ),
        (
            {"max_batch_size": 8, "enable_large_batch_splitting": True, "max_execution_batch_size": 9},
            "max_execution_batch_size must be positive and at most max_batch_size, 8; was 9",
        ),
    ],
)
def test_parameters_that_contradict_each_other(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ServingError) as raised:
        BatchingParameters(**given)
    assert (raised.value.code, raised.value.message) == (Code.INVALID_ARGUMENT, message)


def test_a_file_without_batching_is_refused(tmp_path: Path) -> None:
    options = ServerOptions((), grpc_port=None, batching_parameters_file="x")
    with pytest.raises(ServingError, match="is set without setting"):
        ModelServer(options)
    assert server_batching_parameters(False, None) is None
    file = parameters_file(tmp_path, "max_batch { value: 16 }")
    with pytest.raises(TextProtoError, match=r"batching.txt:1:1: .*max_batch"):
        server_batching_parameters(True, str(file))


def test_queue_fills_a_batch_then_opens_the_next() -> None:
    queue = BatchQueue(BatchingParameters(max_batch_size=4, batch_timeout_micros=1_000_000), lambda _: None)
    assert queue.is_empty()
    for size in (2, 1, 3):
        queue.add(task(size, enqueued=10.0))
    first = queue.take(now=10.0)
    assert first is not None
    # 2 + 1 + 3 is more than 4: the third task waits in the next batch, for its second.
    assert [one.size for one in first] == [2, 1]
    assert queue.take(now=10.9) is None
    assert queue.ready_at() == 11.0
    second = queue.take(now=11.0)
    assert second is not None
    assert [one.size for one in second] == [3]
    assert queue.is_empty()


def test_a_full_batch_does_not_wait() -> None:
    queue = BatchQueue(BatchingParameters(max_batch_size=4, batch_timeout_micros=FOR_EVER), lambda _: None)
    queue.add(task(4))
    assert queue.take(now=0.0) is not None


def test_queue_has_an_end() -> None:
    queue = BatchQueue(BatchingParameters(max_batch_size=4, max_enqueued_batches=2), lambda _: None)
    for size in (4, 3):
        queue.add(task(size))
    with pytest.raises(ServingError) as raised:
        queue.add(task(2))
    assert raised.value.code == Code.UNAVAILABLE
    assert raised.value.message == (
        "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued and "
        "max_enqueued_batches is 2"
    )
    # What still fits into the open batch is taken.
    queue.add(task(1))
    with pytest.raises(ServingError, match="Task size 5 is larger than maximum input batch size 4"):
        queue.add(task(5))


def test_large_tasks_are_split() -> None:
    limits = BatchingParameters(
        max_batch_size=10, max_enqueued_batches=3, enable_large_batch_splitting=True, max_execution_batch_size=4
    )
    queue = BatchQueue(limits, lambda _: None)
    queue.add(task(3))
    # 1 row fills the open batch, 4 the next, 2 open a third.
    parts = queue.add(task(7))
    assert [part.feeds["x"].tolist() for part in parts] == [[0], [1, 2, 3, 4], [5, 6]]
    with pytest.raises(ServingError) as raised:
        queue.add(task(3))
    assert raised.value.message.endswith(
        "task size is 3 but scheduling capacity is only 2 (num_enqueued_batches=3, max_enqueued_batches=3, "
        "open_batch_size=2, max_execution_batch_size=4)"
    )
