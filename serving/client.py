"""Clients for TF Serving's APIs, over gRPC or REST: `Client` blocks, `AsyncClient` is awaited."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from serving.client_async import AsyncClient
from serving.client_grpc import GrpcProtocol, GrpcTransport
from serving.client_rest import RestProtocol, RestTransport
from serving.client_tls import Tls, TlsError
from serving.client_types import PredictError, Prediction, Signature, TensorSpec, as_arrays, check_addresses, run

__all__ = ["AsyncClient", "Client", "PredictError", "Prediction", "Signature", "TensorSpec", "Tls", "TlsError"]


class Client:
    """Asks a model server for predictions.

    Give one address. gRPC packs tensors as bytes and is several times faster; REST is there where only HTTP passes.
    A client keeps its connections and may be used by many threads; make one per server, not one per request.

    Args:
        grpc: `host:port` of the gRPC endpoint. A name with several addresses (`dns:///twin:8500`) is taken for
            replicas, which are asked in turn.
        rest: `host:port` or URL of the REST endpoint.
        timeout_s: Deadline of each request.
        tls: Keys and certificates for gRPC; None = no TLS. For REST give an `https://` URL.

    Raises:
        ValueError: Neither or both addresses are given, or `tls` with REST.
        TlsError: A key or certificate cannot be used.

    Example:
        One user with three behaviours, two candidates:

        >>> import numpy as np
        >>> from serving.client import Client, PredictError
        >>> request = {
        ...     "history/item_id": np.array([[7, 9, 7]]),
        ...     "history/length": np.array([3]),
        ...     "candidate/item_id": np.array([[7, 8]]),
        ... }
        >>> with Client(grpc="127.0.0.1:8500") as client:
        ...     answer = client.predict(request)
        >>> answer.outputs["pctr"].shape, answer.outputs["pctr"].dtype, answer.model_version
        ((1, 2), dtype('float32'), 1)

        The same over REST:

        >>> with Client(rest="127.0.0.1:8501") as client:
        ...     np.array_equal(client.predict(request).outputs["pctr"], answer.outputs["pctr"])
        True

        What was refused says so:

        >>> with Client(grpc="127.0.0.1:8500", timeout_s=2.0) as client:
        ...     try:
        ...         client.predict({**request, "history/length": np.array([-1])})
        ...     except PredictError as error:
        ...         print(error.code, "history/length" in error.message)
        INVALID_ARGUMENT True
    """

    def __init__(
        self, *, grpc: str | None = None, rest: str | None = None, timeout_s: float = 10.0, tls: Tls | None = None
    ) -> None:
        check_addresses(grpc, rest, tls is not None)
        self._timeout_s = timeout_s
        self._protocol = GrpcProtocol() if grpc is not None else RestProtocol()
        self._transport = GrpcTransport(grpc, tls) if grpc is not None else RestTransport(str(rest))

    def predict(
        self,
        inputs: Mapping[str, Any],
        signature: str = "serving_default",
        model: str = "twin",
        version: int | None = None,
        outputs: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Prediction:
        """Runs a signature.

        Args:
            inputs: Input name to array, in the dtype the signature wants; strings as `str`, `bytes` or object arrays.
            signature: Name of the signature.
            model: Name of the model.
            version: Version to ask; None = the newest.
            outputs: Names of the outputs wanted; empty = all. REST computes all and returns these.
            timeout_s: Deadline of this request; None = the client's. Over gRPC the server knows it and does not begin
                what nobody waits for.

        Returns:
            The outputs, the version that answered (gRPC only) and the time.

        Raises:
            PredictError: An input cannot be sent, the server refused or failed, was not reached, or the deadline
                passed.
        """
        timeout = self._timeout_s if timeout_s is None else timeout_s
        steps = self._protocol.predict(as_arrays(inputs), signature, model, version, outputs, timeout)
        return run(steps, self._transport.send)

    def signatures(self, model: str = "twin", version: int | None = None) -> dict[str, Signature]:
        """Asks for the names, dtypes and shapes of every signature's inputs and outputs.

        Args:
            model: Name of the model.
            version: Version to ask; None = the newest.

        Returns:
            Signature name to signature.

        Raises:
            PredictError: As for `predict`.

        Example:
            >>> from serving.client import Client
            >>> with Client(grpc="127.0.0.1:8500") as client:
            ...     client.signatures()["serving_default"].inputs["candidate/item_id"].shape
            (-1, -1)
        """
        return run(self._protocol.signatures(model, version, self._timeout_s), self._transport.send)

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
