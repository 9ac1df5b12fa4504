"""The client for event loops."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from serving.client_grpc import AsyncGrpcTransport, GrpcProtocol
from serving.client_rest import AsyncRestTransport, RestProtocol
from serving.client_tls import Tls
from serving.client_types import Prediction, Signature, as_arrays, check_addresses, run_async


class AsyncClient:
    """`Client` for an event loop: the same arguments, answers and errors, methods to await.

    Make it while the loop runs and use it in that loop alone. Cancelling a request cancels it at the server.

    Args:
        grpc, rest, timeout_s, tls: As for `Client`.

    Raises:
        ValueError, TlsError: As for `Client`.

    Example:
        Two users asked for at once:

        >>> import asyncio
        >>> import numpy as np
        >>> from serving.client import AsyncClient
        >>> def user(*history: int) -> dict[str, np.ndarray]:
        ...     return {
        ...         "history/item_id": np.array([history]),
        ...         "history/length": np.array([len(history)]),
        ...         "candidate/item_id": np.array([[7, 8]]),
        ...     }
        >>> async def ask() -> list[tuple[int, ...]]:
        ...     async with AsyncClient(grpc="127.0.0.1:8500") as client:
        ...         answers = await asyncio.gather(client.predict(user(7, 9)), client.predict(user(8, 8, 7)))
        ...     return [answer.outputs["pctr"].shape for answer in answers]
        >>> asyncio.run(ask())
        [(1, 2), (1, 2)]
    """

    def __init__(
        self, *, grpc: str | None = None, rest: str | None = None, timeout_s: float = 10.0, tls: Tls | None = None
    ) -> None:
        check_addresses(grpc, rest, tls is not None)
        self._timeout_s = timeout_s
        self._protocol = GrpcProtocol() if grpc is not None else RestProtocol()
        self._transport = AsyncGrpcTransport(grpc, tls) if grpc is not None else AsyncRestTransport(str(rest))

    async def predict(
        self,
        inputs: Mapping[str, Any],
        signature: str = "serving_default",
        model: str = "twin",
        version: int | None = None,
        outputs: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Prediction:
        """As `Client.predict`."""
        timeout = self._timeout_s if timeout_s is None else timeout_s
        steps = self._protocol.predict(as_arrays(inputs), signature, model, version, outputs, timeout)
        return await run_async(steps, self._transport.send)

    async def signatures(self, model: str = "twin", version: int | None = None) -> dict[str, Signature]:
        """As `Client.signatures`."""
        return await run_async(self._protocol.signatures(model, version, self._timeout_s), self._transport.send)

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
