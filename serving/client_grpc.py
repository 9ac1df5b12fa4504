"""The clients' gRPC side: requests and answers, and the two ways to exchange them."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from serving.client_tls import Tls
from serving.client_types import Array, Call, PredictError, Prediction, Signature, Steps, TensorSpec
from serving.tensors import TensorError, decode, encode

_MAX_MESSAGE_BYTES = 2**31 - 1
_SIGNATURE_DEF = "signature_def"


class GrpcProtocol:
    """Makes requests with tensors packed as bytes, and reads the answers."""

    def predict(
        self,
        inputs: Mapping[str, Array],
        signature: str,
        model: str,
        version: int | None,
        outputs: Sequence[str],
        timeout_s: float,
    ) -> Steps[Prediction]:
        """Runs a signature.

        Raises:
            PredictError: An input cannot be sent, or the answer cannot be read.
        """
        started = time.perf_counter()
        request = predict_pb2.PredictRequest(output_filter=outputs)
        request.model_spec.name = model
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        for name, array in inputs.items():
            try:
                request.inputs[name].CopyFrom(encode(array))
            except TensorError as error:
                raise PredictError("INVALID_ARGUMENT", f"input {name}: {error}") from None
        response = yield Call("Predict", request, timeout_s)
        try:
            found = {name: decode(proto) for name, proto in response.outputs.items()}
        except TensorError as error:
            raise PredictError("DATA_LOSS", f"the answer cannot be read: {error}") from None
        return Prediction(found, response.model_spec.version.value, (time.perf_counter() - started) * 1e3)

    def signatures(self, model: str, version: int | None, timeout_s: float) -> Steps[dict[str, Signature]]:
        """Asks for the signatures of a model."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[_SIGNATURE_DEF])
        request.model_spec.name = model
        if version is not None:
            request.model_spec.version.value = version
        response = yield Call("GetModelMetadata", request, timeout_s)
        defs = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[_SIGNATURE_DEF].Unpack(defs)
        found = [
            Signature(name, _specs(definition.inputs), _specs(definition.outputs))
            for name, definition in defs.signature_def.items()
        ]
        return {signature.name: signature for signature in found if not signature.is_internal}


class GrpcTransport:
    """A channel that blocks.

    Args:
        address: `host:port`.
        tls: Keys and certificates; None = no TLS.

    Raises:
        TlsError: A key or certificate cannot be used.
    """

    def __init__(self, address: str, tls: Tls | None) -> None:
        self._address = address
        options = _channel_options(tls)
        if tls is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            self._channel = grpc.secure_channel(address, tls.credentials(), options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def send(self, call: Call) -> Any:
        """Makes a call and gives the response message.

        Raises:
            PredictError: The server refused or failed, was not reached, or the deadline passed.
        """
        with _errors(self._address, call.timeout_s):
            return getattr(self._stub, call.method)(call.body, timeout=call.timeout_s)

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()


class AsyncGrpcTransport:
    """`GrpcTransport` for an event loop, which must be running when it is made."""

    def __init__(self, address: str, tls: Tls | None) -> None:
        self._address = address
        options = _channel_options(tls)
        if tls is None:
            self._channel = grpc.aio.insecure_channel(address, options)
        else:
            self._channel = grpc.aio.secure_channel(address, tls.credentials(), options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    async def send(self, call: Call) -> Any:
        """As `GrpcTransport.send`; cancelling it cancels the call at the server."""
        with _errors(self._address, call.timeout_s):
            return await getattr(self._stub, call.method)(call.body, timeout=call.timeout_s)

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close(None)


def _channel_options(tls: Tls | None) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        # A name with several addresses means replicas; gRPC's default would send everything to the first of them.
        ("grpc.lb_policy_name", "round_robin"),
    ]
    if tls is not None and tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options


@contextmanager
def _errors(address: str, timeout_s: float) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        code, details = error.code().name, error.details() or ""
        if code == "UNAVAILABLE":
            details = f"no answer from {address} over gRPC: {details}"
        if code == "DEADLINE_EXCEEDED":
            details = f"no answer from {address} within {timeout_s:.3g} s: {details}"
        raise PredictError(code, details) from None


def _specs(infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(
            info.dtype, None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
        )
        for name, info in infos.items()
    }
