"""What the client takes and gives."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import UserError


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


@dataclass(frozen=True)
class Prediction:
    """An answer.

    Attributes:
        outputs: Output name to array; strings as object arrays of bytes.
        model_version: The version that answered; None over REST, which does not say.
        ms: Time from the call to the decoded answer.
    """

    outputs: dict[str, NDArray[np.generic]]
    model_version: int | None
    ms: float
