"""What the clients take and give."""

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError

Array = NDArray[np.generic]
Result = TypeVar("Result")


class PredictError(UserError):
    """A request that was not answered with a prediction.

    Attributes:
        code: gRPC's name of the status, also over REST: INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE, ...
        message: What the server, or the network, said.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class TensorSpec:
    """An input or output.

    Attributes:
        data_type: TensorFlow's `DataType` number.
        shape: Sizes, -1 = any; None = unknown rank.
    """

    data_type: int
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a signature by name."""

    name: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    @property
    def is_internal(self) -> bool:
        """Whether it initialises or trains a SavedModel; servers list those among the others."""
        return self.name.startswith("__saved_model_")


@dataclass(frozen=True)
class Prediction:
    """An answer.

    Attributes:
        outputs: Output name to array; strings as object arrays of bytes.
        model_version: The version that answered; None over REST, which does not say.
        ms: Time from the call to the decoded answer.
    """

    outputs: dict[str, Array]
    model_version: int | None
    ms: float


@dataclass(frozen=True)
class Call:
    """One exchange with the server, described but not made.

    Attributes:
        method: gRPC method, or HTTP method and path.
        body: gRPC message, or the bytes of an HTTP body.
        timeout_s: Its deadline.
    """

    method: str
    body: Any
    timeout_s: float


# What a request needs of the network: it yields calls, is sent their replies and returns the result. So requests are
# made and answers read in one place, for clients that block and clients that await.
Steps = Generator[Call, Any, Result]


def run(steps: Steps[Result], send: Callable[[Call], Any]) -> Result:
    """Makes the calls one after another and gives the result."""
    try:
        call = next(steps)
        while True:
            call = steps.send(send(call))
    except StopIteration as done:
        return done.value


async def run_async(steps: Steps[Result], send: Callable[[Call], Awaitable[Any]]) -> Result:
    """`run` with a `send` that is awaited."""
    try:
        call = next(steps)
        while True:
            call = steps.send(await send(call))
    except StopIteration as done:
        return done.value


def as_arrays(inputs: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs as arrays.

    Raises:
        PredictError: INVALID_ARGUMENT, with the input's name: lists of unequal lengths.
    """
    arrays = {}
    for name, value in inputs.items():
        try:
            arrays[name] = np.asarray(value)
        except ValueError as error:
            raise PredictError("INVALID_ARGUMENT", f"input {name}: {error}") from None
    return arrays


def check_addresses(grpc: str | None, rest: str | None, tls: bool) -> None:
    """Checks the choice of a protocol.

    Raises:
        ValueError: Neither or both addresses are given, or TLS options with REST.
    """
    if (grpc is None) == (rest is None):
        raise ValueError("give exactly one of grpc and rest, each as host:port")
    if tls and rest is not None:
        raise ValueError("tls is for gRPC; for REST give an https:// URL")
