"""A client for TF Serving's APIs, over gRPC or REST."""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from serving.client_grpc import GrpcTransport
from serving.client_rest import RestTransport
from serving.client_types import PredictError, Prediction, Signature, TensorSpec

__all__ = ["Client", "PredictError", "Prediction", "Signature", "TensorSpec"]


class Client:
    """Asks a model server for predictions.

    Give one address. gRPC packs tensors as bytes and is several times faster; REST is there where only HTTP passes.
    A client may be used by many threads.

    Args:
        grpc: `host:port` of the gRPC endpoint.
        rest: `host:port` or URL of the REST endpoint.
        timeout_s: Deadline of each request.

    Raises:
        ValueError: Neither or both addresses are given.

    Example:
        >>> with Client(grpc="127.0.0.1:8500") as client:                # doctest: +SKIP
        ...     answer = client.predict({"x": np.zeros([1, 3], np.float32)})
        ...     answer.outputs["y"].shape, answer.model_version
        ((1, 3), 1)
    """

    def __init__(self, *, grpc: str | None = None, rest: str | None = None, timeout_s: float = 10.0) -> None:
        if (grpc is None) == (rest is None):
            raise ValueError("give exactly one of grpc and rest, each as host:port")
        self._timeout_s = timeout_s
        self._signatures: dict[tuple[str, int | None], dict[str, Signature]] = {}
        self._transport: GrpcTransport | RestTransport = GrpcTransport(grpc) if grpc else RestTransport(str(rest))

    def predict(
        self,
        inputs: Mapping[str, NDArray[Any]],
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
            timeout_s: Deadline of this request; None = the client's.

        Returns:
            The outputs, the version that answered (gRPC only) and the time.

        Raises:
            PredictError: The server refused or failed, was not reached, or the deadline passed.
        """
        timeout = self._timeout_s if timeout_s is None else timeout_s
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        started = time.perf_counter()
        if isinstance(self._transport, GrpcTransport):
            found, used = self._transport.predict(arrays, signature, model, version, outputs, timeout)
        else:
            spec = self._signature(signature, model, version)
            found, used = self._transport.predict(arrays, spec, model, version, timeout), None
            found = {name: found[name] for name in outputs or found}
        return Prediction(outputs=found, model_version=used, ms=(time.perf_counter() - started) * 1e3)

    def signatures(self, model: str = "twin", version: int | None = None) -> dict[str, Signature]:
        """Asks for the names, dtypes and shapes of every signature's inputs and outputs.

        Args:
            model: Name of the model.
            version: Version to ask; None = the newest.

        Returns:
            Signature name to signature.

        Raises:
            PredictError: As for `predict`.
        """
        found = self._transport.signatures(model, version, self._timeout_s)
        # Servers list the operations that initialise or train a SavedModel among its signatures.
        return {name: signature for name, signature in found.items() if not name.startswith("__saved_model_")}

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _signature(self, name: str, model: str, version: int | None) -> Signature:
        """A signature, asked for once: JSON names neither dtypes nor, for one output, the output."""
        key = (model, version)
        if name not in self._signatures.get(key, {}):
            self._signatures[key] = self.signatures(model, version)
        if name not in self._signatures[key]:
            known = ", ".join(sorted(self._signatures[key]))
            raise PredictError("INVALID_ARGUMENT", f'model {model} has no signature "{name}"; it has {known}')
        return self._signatures[key][name]
