"""What the tests of gRPC calls share."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def fails(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    """Code and message of a call that must fail."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    error: Any = raised.value
    return error.code(), error.details()
