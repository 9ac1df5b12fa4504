"""GetModelStatus and GetModelMetadata, as messages and as REST's JSON."""

import json
from typing import Any

from google.protobuf import json_format
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from serving.server.model_store import ModelStore
from serving.server.serving_error import Code, invalid

SIGNATURE_DEF = "signature_def"
_HTML_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>\x7f"}


def model_status(store: ModelStore, name: str, version: int | None) -> get_model_status_pb2.GetModelStatusResponse:
    """The states of a model's versions.

    Raises:
        ServingError: NOT_FOUND, the model or version is not known.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    for known in store.statuses(name, version):
        one = response.model_version_status.add(version=known.number, state=int(known.state))
        one.status.error_code = int(known.error.code if known.error else Code.OK)
        one.status.error_message = known.error.message if known.error else ""
    return response


def status_json(response: get_model_status_pb2.GetModelStatusResponse) -> str:
    """The status as TF Serving prints it: indent 1, int64 as text, defaults included."""
    statuses = [
        {
            "version": str(one.version),
            "state": get_model_status_pb2.ModelVersionStatus.State.Name(one.state),
            "status": {"error_code": Code(one.status.error_code).name, "error_message": one.status.error_message},
        }
        for one in response.model_version_status
    ]
    return _print({"model_version_status": statuses})


def model_metadata(
    store: ModelStore, name: str, version: int | None, label: str | None
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Every signature of a servable.

    Raises:
        ServingError: NOT_FOUND, the model or version is not available.
    """
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    signatures = get_model_metadata_pb2.SignatureDefMap()
    with store.lease(name, version, label) as (number, servable):
        for key, signature in servable.signatures.items():
            signatures.signature_def[key].CopyFrom(signature)
    response.model_spec.name = name
    response.model_spec.version.value = number
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response


def check_metadata_fields(fields: list[str]) -> None:
    """A metadata request must ask for `signature_def` and nothing else.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if not fields:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in fields:
        if field != SIGNATURE_DEF:
            # The real server forgets to fill in its %s.
            raise invalid(f"Metadata field %s is not supported{field}")


def metadata_json(response: get_model_metadata_pb2.GetModelMetadataResponse) -> str:
    """The metadata as TF Serving prints it: proto field names, int64 as text, defaults included."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[SIGNATURE_DEF].Unpack(signatures)
    spec = {
        "name": response.model_spec.name,
        "signature_name": "",
        "version": str(response.model_spec.version.value),
    }
    defs = {key: _signature(signature) for key, signature in signatures.signature_def.items()}
    # The real one is glued together of these parts too.
    return f'{{\n"model_spec":{_print(spec)},\n"metadata": {{"signature_def": {_print({"signature_def": defs})}}}\n}}\n'


def _print(message: dict[str, Any]) -> str:
    """JSON as protobuf's C++ library prints messages: no character that would begin or end an HTML tag."""
    text = json.dumps(message, indent=1, ensure_ascii=False)
    return text.translate(_HTML_ESCAPES) + "\n"


def _signature(signature: meta_graph_pb2.SignatureDef) -> dict[str, Any]:
    return {
        "inputs": {key: _tensor(info) for key, info in signature.inputs.items()},
        "outputs": {key: _tensor(info) for key, info in signature.outputs.items()},
        "method_name": signature.method_name,
        "defaults": {key: _value(proto) for key, proto in signature.defaults.items()},
    }


def _tensor(info: meta_graph_pb2.TensorInfo) -> dict[str, Any]:
    return {
        "dtype": types_pb2.DataType.Name(info.dtype),
        "tensor_shape": _shape(info.tensor_shape),
        "name": info.name,
    }


def _value(proto: tensor_pb2.TensorProto) -> dict[str, Any]:
    defaults = {field.name: field.default_value for field in proto.DESCRIPTOR.fields}
    # Bytes are printed in base64, none as an empty text.
    empty = {name: "" if value == b"" else value for name, value in defaults.items()}
    given = json_format.MessageToDict(proto, preserving_proto_field_name=True)
    return empty | given | {"tensor_shape": _shape(proto.tensor_shape)}


def _shape(shape: tensor_shape_pb2.TensorShapeProto) -> dict[str, Any]:
    dims = [{"size": str(dim.size), "name": dim.name} for dim in shape.dim]
    return {"dim": dims, "unknown_rank": shape.unknown_rank}
