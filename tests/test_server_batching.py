"""Merging requests into batches: merged tensors, what each is answered, and the server with it."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import gc
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.publisher import publish
from serving.server.batch_scheduler import BatchScheduler
from serving.server.batching import BatchingSession, _merged
from serving.server.batching_parameters import (
    BatchingParameters,
)
from serving.server.metrics import PADDING_SIZE, WRAPPED_RUN_COUNT
from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions, single_model
from serving.server.serving_error import Code, ServingError
from tests.server_models import export, exporter
from tests.test_server_grpc import fails, request

# Longer than any test: an incomplete batch never runs.
FOR_EVER = 10**9


class Doubler:
    """A graph that doubles `x`; remembers what it was fed."""

    def __init__(self) -> None:
        self.fed: list[Mapping[str, Any]] = []
        self.timeouts: list[int] = []
        self.entered = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str], timeout_ms: int) -> list[Any]:
        self.fed.append(feeds)
        self.timeouts.append(timeout_ms)
        self.entered.set()
        assert self.may_end.wait(60)
        if np.any(np.asarray(feeds["x"]) == -1):
            raise ServingError(Code.INVALID_ARGUMENT, "x must not be -1")
        outputs = {"y": feeds["x"] * 2, "sum": np.asarray(np.sum(feeds["x"])), "first": feeds["x"][:1]}
        return [outputs[name] for name in fetches]


@contextmanager
def batching(graph: Doubler, **parameters: Any) -> Iterator[BatchingSession]:
    scheduler = BatchScheduler(1)
    yield BatchingSession(graph.run, scheduler, BatchingParameters(**parameters))
    scheduler.close()


def together(session: BatchingSession, *inputs: Any) -> list[Any]:
    """Runs requests at once; gives the answers, or the errors."""

    def one(x: Any) -> Any:
        try:
            return session.run({"x": np.asarray(x)}, ["y"])[0].tolist()
        except ServingError as error:
            return error

    with ThreadPoolExecutor(len(inputs)) as pool:
        return list(pool.map(one, inputs))


def error_of(session: BatchingSession, feeds: Mapping[str, Any], fetches: Sequence[str] = ("y",)) -> tuple[Code, str]:
    with pytest.raises(ServingError) as raised:
        session.run({name: np.asarray(value) for name, value in feeds.items()}, fetches)
    return raised.value.code, raised.value.message


def parameters_file(folder: Path, text: str, name: str = "batching.txt") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_requests_run_together_and_get_their_own_rows() -> None:
    graph = Doubler()
    with batching(graph, max_batch_size=6, batch_timeout_micros=FOR_EVER) as session:
        assert together(session, [1, 2], [3, 4, 5], [6]) == [[2, 4], [6, 8, 10], [12]]
    assert [len(feeds["x"]) for feeds in graph.fed] == [6]


def test_split_requests_are_put_together_again() -> None:
    graph = Doubler()
    with batching(graph, max_batch_size=7, enable_large_batch_splitting=True, max_execution_batch_size=3) as session:
        assert together(session, [1, 2, 3, 4, 5, 6, 7]) == [[2, 4, 6, 8, 10, 12, 14]]
    assert [len(feeds["x"]) for feeds in graph.fed] == [3, 3, 1]


def test_batches_are_padded_to_an_allowed_size() -> None:
    graph = Doubler()
    before = PADDING_SIZE.sum("4")
    with batching(graph, max_batch_size=4, allowed_batch_sizes=(2, 4)) as session:
        assert together(session, [[7], [8], [9]]) == [[[14], [16], [18]]]
    # One row more, the first of the last task.
    assert graph.fed[0]["x"].tolist() == [[7], [8], [9], [7]]
    assert PADDING_SIZE.sum("4") - before == 1


def test_requests_without_rows_are_no_harm_to_others() -> None:
    with batching(Doubler(), max_batch_size=4, allowed_batch_sizes=(2, 4)) as session:
        assert together(session, np.empty(0)) == [[]]
    # The row that pads is the last one that there is.
    values = [np.array([1.0, 2.0]), np.array([3.0]), np.empty(0)]
    assert _merged("x", values, 1, BatchingParameters()).tolist() == [1.0, 2.0, 3.0, 3.0]


def test_a_wait_of_centuries_is_only_long() -> None:
    with batching(Doubler(), max_batch_size=2, batch_timeout_micros=2**63 - 1) as session:
        assert together(session, [1.0], [2.0]) == [[2.0], [4.0]]


def test_lengths_are_padded_with_the_first_value() -> None:
    graph = Doubler()
    wanted = [[[10, 12, 10]], [[14, 16, 18], [2, 4, 6]]]
    with batching(graph, max_batch_size=3, batch_timeout_micros=FOR_EVER, pad_variable_length_inputs=True) as session:
        # Padding is not taken off the answers: whoever turns it on has outputs that do not depend on the length.
        assert together(session, [[5, 6]], [[7, 8, 9], [1, 2, 3]]) == wanted


def test_different_lengths_without_padding() -> None:
    graph = Doubler()
    with batching(graph, max_batch_size=2, batch_timeout_micros=FOR_EVER) as session:
        answers = together(session, [[5, 6]], [[7, 8, 9]])
    assert {answer.code for answer in answers} == {Code.FAILED_PRECONDITION}
    assert "Set pad_variable_length_inputs to true" in answers[0].message
    assert graph.fed == []


def test_requests_that_cannot_be_batched() -> None:
    with batching(Doubler(), max_batch_size=8) as session:
        one_dimension = "Batching Run() input tensors must have at least one dimension"
        assert error_of(session, {"x": 3}) == (Code.INVALID_ARGUMENT, one_dimension)
        equal = "Batching Run() input tensors must have equal 0th-dimension size"
        assert error_of(session, {"x": [1], "z": [1, 2]}) == (Code.INVALID_ARGUMENT, equal)
        too_large = "Task size 9 is larger than maximum input batch size 8"
        assert error_of(session, {"x": [1] * 9}) == (Code.INVALID_ARGUMENT, too_large)
        scalar = "Batched output tensor has 0 dimensions"
        assert error_of(session, {"x": [1, 2]}, ["sum"]) == (Code.FAILED_PRECONDITION, scalar)
        code, message = error_of(session, {"x": [1, 2]}, ["first"])
        assert code == Code.FAILED_PRECONDITION
        assert message.startswith("Batched output tensor's 0th dimension does not equal the sum")
        # And goes on.
        assert session.run({"x": np.array([4])}, ["y"])[0].tolist() == [8]


def test_requests_for_other_outputs_do_not_mix() -> None:
    graph = Doubler()
    with batching(graph, max_batch_size=2) as session:
        y, again = session.run({"x": np.array([4])}, ["y", "y"])
        assert (y.tolist(), again.tolist()) == ([8], [8])
        first, y = session.run({"x": np.array([4])}, ["first", "y"])
        assert (first.tolist(), y.tolist()) == ([4], [8])


def test_one_bad_request_fails_its_batch() -> None:
    with batching(Doubler(), max_batch_size=2, batch_timeout_micros=FOR_EVER) as session:
        answers = together(session, [-1], [1])
    assert [(answer.code, answer.message) for answer in answers] == [(Code.INVALID_ARGUMENT, "x must not be -1")] * 2


def test_a_deadline_that_passes_in_the_queue() -> None:
    graph = Doubler()
    graph.may_end.clear()
    with batching(graph, max_batch_size=1) as session, ThreadPoolExecutor(3) as pool:
        running = pool.submit(session.run, {"x": np.array([1])}, ["y"])
        assert graph.entered.wait(60)
        late = pool.submit(session.run, {"x": np.array([2])}, ["y"], 20)
        patient = pool.submit(session.run, {"x": np.array([3])}, ["y"], 60_000)
        time.sleep(0.1)
        graph.may_end.set()
        with pytest.raises(ServingError) as raised:
            late.result()
        assert running.result()[0].tolist() == [2]
        assert patient.result()[0].tolist() == [6]
    assert raised.value.code == Code.RESOURCE_EXHAUSTED
    assert raised.value.message == "Run() timeout exceeded while waiting in batching queue"
    # The late one was not run, and the patient one only for what was left of its time.
    assert [feeds["x"].tolist() for feeds in graph.fed] == [[1], [3]]
    assert graph.timeouts[0] == 0
    assert 0 < graph.timeouts[1] < 60_000


def test_an_unloaded_model_is_let_go() -> None:
    scheduler = BatchScheduler(2)
    session = BatchingSession(Doubler().run, scheduler, BatchingParameters())
    assert together(session, [1], [2], [3]) == [[2], [4], [6]]
    let_go = weakref.ref(session)
    del session
    gc.collect()
    # The idle threads must not hold what they ran last.
    assert let_go() is None
    scheduler.close()


def test_a_batch_has_the_time_of_its_most_patient_request() -> None:
    graph = Doubler()
    with batching(graph, max_batch_size=2, batch_timeout_micros=FOR_EVER) as session, ThreadPoolExecutor(2) as pool:
        pair = [pool.submit(session.run, {"x": np.array([1])}, ["y"], timeout) for timeout in (30_000, 60_000)]
        assert [one.result()[0].tolist() for one in pair] == [[2], [2]]
    assert 30_000 < graph.timeouts[0] <= 60_000


@contextmanager
def serving_toy(model_dir: Path, **options: Any) -> Iterator[Any]:
    server = ModelServer(
        ServerOptions((single_model("toy", str(model_dir)),), grpc_port=0, enable_batching=True, **options)
    )
    try:
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            yield prediction_service_pb2_grpc.PredictionServiceStub(channel)
    finally:
        server.stop()


def test_server(tmp_path: Path) -> None:
    publish(tmp_path / "toy", exporter(2.0))
    file = parameters_file(tmp_path, "max_batch_size { value: 4 } batch_timeout_micros { value: 1000000000 }")
    with serving_toy(tmp_path / "toy", grpc_threads=8, batching_parameters_file=str(file)) as stub:
        before = WRAPPED_RUN_COUNT.value()

        def one(number: int) -> list[float]:
            response = stub.Predict(request("single", x=np.array([number], np.float32)), timeout=60)
            return list(response.outputs["y"].float_val)

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(one, range(4))) == [[0.0], [2.0], [4.0], [6.0]]
        assert WRAPPED_RUN_COUNT.value() - before == 1
        code, message = fails(lambda: stub.Predict(request("slow", seconds=np.float64(0.0))))
        assert (code, message) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "Batching Run() input tensors must have at least one dimension",
        )
        code, message = fails(lambda: stub.Predict(request("single", x=np.zeros(5, np.float32))))
        assert (code, message) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "Task size 5 is larger than maximum input batch size 4",
        )


def test_batching_without_a_file_has_a_limit_too(tmp_path: Path) -> None:
    publish(tmp_path / "toy", exporter(2.0))
    with serving_toy(tmp_path / "toy") as stub:
        assert len(stub.Predict(request("single", x=np.ones(1000, np.float32))).outputs["y"].float_val) == 1000
        _, message = fails(lambda: stub.Predict(request("single", x=np.ones(1001, np.float32))))
        assert message == "Task size 1001 is larger than maximum input batch size 1000"


def test_parameters_of_a_version(tmp_path: Path) -> None:
    def with_limit(text: str | None) -> Any:
        def build(folder: Path) -> None:
            export(folder)
            if text is not None:
                parameters_file(folder, text, "batching_params.pbtxt")

        return build

    def longest(stub: Any, size: int) -> int:
        return len(stub.Predict(request("single", x=np.ones(size, np.float32))).outputs["y"].float_val)

    publish(tmp_path / "toy", with_limit("max_batch_size { value: 3 }"))
    with serving_toy(tmp_path / "toy", enable_per_model_batching_parameters=True) as stub:
        assert longest(stub, 3) == 3
        assert fails(lambda: longest(stub, 4))[1] == "Task size 4 is larger than maximum input batch size 3"
    # Without the file of its own a version is not batched at all: no limit.
    publish(tmp_path / "toy", with_limit(None))
    with serving_toy(tmp_path / "toy", enable_per_model_batching_parameters=True) as stub:
        assert longest(stub, 1001) == 1001
    publish(tmp_path / "toy", with_limit("max_batch_size { value: x }"))
    with (
        pytest.raises(ServingError, match=r"Invalid protobuf file: '.*/batching_params\.pbtxt'"),
        serving_toy(tmp_path / "toy", enable_per_model_batching_parameters=True, max_load_retries=0),
    ):
        pass
