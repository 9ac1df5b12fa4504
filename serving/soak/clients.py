"""Clients that ask for a while and remember what they were told."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.soak.model import VERSION_OUTPUT
from serving.tensors import decode

OK = "OK"
WRONG = "wrong answer"
_UNREACHED = "UNAVAILABLE"
_RECONNECT_S = 0.1
_TIMEOUT_S = 60.0
_TOLERANCE = 1e-5
_MAX_MESSAGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request came to.

    Attributes:
        began: `time.perf_counter()` when it was sent.
        seconds: Until it was answered.
        outcome: `OK`, `WRONG` or the name of the status.
        version: The version the graph said it is; 0 = no answer.
    """

    began: float
    seconds: float
    outcome: str
    version: int

    @property
    def ended(self) -> float:
        """`time.perf_counter()` when it was answered."""
        return self.began + self.seconds


def connect(address: str) -> grpc.Channel:
    """A connection of its own: channels of one process share theirs by default."""
    return grpc.insecure_channel(address, [*_MAX_MESSAGE, ("grpc.use_local_subchannel_pool", 1)])


class Clients:
    """Threads that ask for one thing until they are stopped.

    An answer is wrong when the version in the graph is not the version that the server says answered, is lower than
    one this client has seen, or when another output differs from the expected one by more than 1e-5.

    Args:
        address: `host:port` of gRPC.
        request: What they ask.
        expected: Output name to value; the version aside.
        count: How many.
        per_s: Requests per second of all together; 0 = each as fast as it is answered.
    """

    def __init__(
        self,
        address: str,
        request: predict_pb2.PredictRequest,
        expected: dict[str, np.ndarray],
        count: int,
        per_s: float = 0.0,
    ) -> None:
        self._address = address
        self._request = request
        self._expected = expected
        self._pause_s = count / per_s if per_s else 0.0
        self._stop = threading.Event()
        self._answers: list[list[Answer]] = [[] for _ in range(count)]
        self._threads = [threading.Thread(target=self._ask, args=(answers,), daemon=True) for answers in self._answers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def answers(self) -> list[Answer]:
        """All so far, in no order."""
        return [answer for answers in self._answers for answer in answers]

    def _ask(self, answers: list[Answer]) -> None:
        newest = 0
        with connect(self._address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            due = time.perf_counter()
            while not self._stop.is_set():
                began = time.perf_counter()
                try:
                    outcome, version = self._judge(stub.Predict(self._request, timeout=_TIMEOUT_S), newest)
                except grpc.RpcError as error:
                    found: Any = error
                    outcome, version = found.code().name, 0
                newest = max(newest, version)
                now = time.perf_counter()
                answers.append(Answer(began, now - began, outcome, version))
                # Who is late does not catch up: a client asks one thing at a time.
                due = max(due + self._pause_s, now)
                if outcome == _UNREACHED:
                    due = max(due, now + _RECONNECT_S)
                if due > now:
                    self._stop.wait(due - now)

    def _judge(self, response: predict_pb2.PredictResponse, newest: int) -> tuple[str, int]:
        outputs = {name: decode(proto) for name, proto in response.outputs.items()}
        version = int(outputs.pop(VERSION_OUTPUT)[0])
        right = version == response.model_spec.version.value and version >= newest and same(outputs, self._expected)
        return (OK if right else WRONG), version


def first_answer(address: str, request: predict_pb2.PredictRequest) -> dict[str, np.ndarray]:
    """What the server answers, the version aside.

    Raises:
        grpc.RpcError: It does not.
    """
    with connect(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(request, timeout=_TIMEOUT_S, wait_for_ready=True)
    return {name: decode(proto) for name, proto in response.outputs.items() if name != VERSION_OUTPUT}


def same(outputs: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    """Whether outputs are the expected ones to 1e-5."""
    return outputs.keys() == expected.keys() and all(
        value.shape == expected[name].shape
        and (
            bool(np.allclose(value, expected[name], _TOLERANCE, _TOLERANCE))
            if value.dtype.kind == "f"
            else bool(np.array_equal(value, expected[name]))
        )
        for name, value in outputs.items()
    )


def p_ms(answers: Iterable[Answer], percent: float) -> float:
    """A percentile of the answers' times, ms; nan without answers."""
    times = [answer.seconds for answer in answers if answer.outcome == OK]
    return float(np.percentile(times, percent) * 1e3) if times else float("nan")


def per_second(answers: Iterable[Answer], begin: float, end: float) -> float:
    """Right answers per second that arrived between two times."""
    return sum(answer.outcome == OK and begin <= answer.ended < end for answer in answers) / (end - begin)
