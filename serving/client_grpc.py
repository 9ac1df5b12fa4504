"""The client's gRPC side."""

from collections.abc import Mapping, Sequence

import grpc
import numpy as np
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from serving.client_types import PredictError, Signature, TensorSpec
from serving.tensors import TensorError, decode, encode

_MAX_MESSAGE_BYTES = 2**31 - 1
_SIGNATURE_DEF = "signature_def"
Arrays = Mapping[str, NDArray[np.generic]]


class GrpcTransport:
    """Sends tensors packed as bytes.

    Args:
        address: `host:port`.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ],
        )
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def predict(
        self,
        inputs: Arrays,
        signature: str,
        model: str,
        version: int | None,
        outputs: Sequence[str],
        timeout_s: float,
    ) -> tuple[dict[str, NDArray[np.generic]], int]:
        """Runs a signature; gives the outputs and the version that answered.

        Raises:
            PredictError: The server refused or failed, was not reached, or the deadline passed.
        """
        request = predict_pb2.PredictRequest(output_filter=outputs)
        request.model_spec.name = model
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(encode(array))
        return self.send(request, timeout_s)

    def send(self, request: predict_pb2.PredictRequest, timeout_s: float) -> tuple[dict[str, NDArray[np.generic]], int]:
        """Sends a ready message, a recorded one for instance.

        Raises:
            PredictError: As for `predict`.
        """
        try:
            response = self._stub.Predict(request, timeout=timeout_s)
            found = {name: decode(proto) for name, proto in response.outputs.items()}
        except grpc.RpcError as error:
            raise self._error(error) from None
        except TensorError as error:
            raise PredictError("DATA_LOSS", f"the answer cannot be read: {error}") from None
        return found, response.model_spec.version.value

    def signatures(self, model: str, version: int | None, timeout_s: float) -> dict[str, Signature]:
        """Asks for the signatures of a model.

        Raises:
            PredictError: As for `predict`.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[_SIGNATURE_DEF])
        request.model_spec.name = model
        if version is not None:
            request.model_spec.version.value = version
        try:
            response = self._stub.GetModelMetadata(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._error(error) from None
        defs = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[_SIGNATURE_DEF].Unpack(defs)
        return {
            name: Signature(name, _specs(definition.inputs), _specs(definition.outputs))
            for name, definition in defs.signature_def.items()
        }

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _error(self, error: grpc.RpcError) -> PredictError:
        code, details = error.code().name, error.details() or ""
        if code == "UNAVAILABLE":
            details = f"no answer from {self._address} over gRPC: {details}"
        return PredictError(code, details)


def _specs(infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(
            info.dtype, None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
        )
        for name, info in infos.items()
    }
