"""Runs a signature of a servable on named arrays, with TF Serving's checks of the request."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from serving.server.servable import INIT_OP, Servable
from serving.server.serving_error import Code, ServingError, invalid
from serving.tensors import TensorError, decode, dtype_of, encode_typed, type_name

DEFAULT_SIGNATURE = "serving_default"
Arrays = Mapping[str, NDArray[np.generic]]


def find_signature(servable: Servable, name: str) -> meta_graph_pb2.SignatureDef:
    """The signature of a gRPC request; an empty name is `serving_default`.

    Raises:
        ServingError: FAILED_PRECONDITION, the servable has no such signature, or it is the one that initialises it.
    """
    name = name or DEFAULT_SIGNATURE
    if name == INIT_OP:
        raise ServingError(Code.FAILED_PRECONDITION, f'"{name}" initialises the model; it cannot be asked to predict.')
    if name not in servable.signatures:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    return servable.signatures[name]


def check_input_names(signature: meta_graph_pb2.SignatureDef, names: Sequence[str]) -> None:
    """Compares a request's input names with the signature's.

    Raises:
        ServingError: INVALID_ARGUMENT naming what is missing and what is extra.
    """
    sent, wanted = set(names), set(signature.inputs)
    missing = wanted - sent
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not signature.defaults):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({{{_join(sent)}}}) != "
            f"len({{{_join(wanted)}}}). Sent extra: {{{_join(sent - wanted)}}}. "
            f"Missing but required: {{{_join(missing)}}}."
        )
    for alias in sorted(missing - set(signature.defaults)):
        raise invalid(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request and no "
            f"default value provided. Inputs expected to be in the request {{{_join(sent)}}}, or default input alias "
            f"set: {_join(signature.defaults)}"
        )
    if not sent <= wanted:
        raise invalid(
            f"Inputs contains invalid name. Used request inputs: {_join(sent & wanted)}, request input: {_join(sent)}"
        )


def predict(
    servable: Servable,
    signature: meta_graph_pb2.SignatureDef,
    inputs: Arrays,
    output_filter: Sequence[str] = (),
    timeout_ms: int = 0,
) -> dict[str, NDArray[np.generic]]:
    """Computes the outputs of a signature.

    Args:
        servable: The loaded model.
        signature: One of its signatures.
        inputs: Input name to value; inputs with a default in the signature may be left out.
        output_filter: Names of the outputs to compute; empty = all.
        timeout_ms: The work is given up after this time, see `Servable.run`; 0 = never.

    Returns:
        Output name to value.

    Raises:
        ServingError: Unknown, missing or duplicate names or wrong dtypes (INVALID_ARGUMENT), or what the graph raised.
    """
    check_input_names(signature, list(inputs))
    feeds = {info.name: _value(signature, alias, inputs) for alias, info in signature.inputs.items()}
    aliases = _outputs(signature, output_filter)
    _check_dtypes(signature, inputs)
    values = servable.run(feeds, [signature.outputs[alias].name for alias in aliases], timeout_ms)
    return dict(zip(aliases, values, strict=True))


def predict_message(
    servable: Servable, request: predict_pb2.PredictRequest, timeout_ms: int = 0
) -> predict_pb2.PredictResponse:
    """Answers a PredictRequest; who asks fills in the name and version of the answer's model_spec.

    Args:
        servable: The loaded model.
        request: The request; its model name and version are not looked at.
        timeout_ms: The work is given up after this time, see `Servable.run`; 0 = never.

    Returns:
        The outputs as typed value fields, and the signature's name.

    Raises:
        ServingError: As for `predict`; also an unknown signature and tensors that cannot be parsed.
    """
    signature = find_signature(servable, request.model_spec.signature_name)
    check_input_names(signature, list(request.inputs))
    inputs = {}
    for alias, proto in request.inputs.items():
        try:
            inputs[alias] = decode(proto)
        except TensorError as error:
            raise invalid(f"tensor parsing error: {alias}: {error}") from None
    outputs = predict(servable, signature, inputs, request.output_filter, timeout_ms)
    response = predict_pb2.PredictResponse()
    response.model_spec.signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    for alias, value in outputs.items():
        response.outputs[alias].CopyFrom(encode_typed(value, signature.outputs[alias].dtype))
    return response


def _value(signature: meta_graph_pb2.SignatureDef, alias: str, inputs: Arrays) -> NDArray[np.generic]:
    if alias in inputs:
        return inputs[alias]
    try:
        return decode(signature.defaults[alias])
    except TensorError as error:
        raise invalid(f"tensor parsing error: {alias}: {error}") from None


def _check_dtypes(signature: meta_graph_pb2.SignatureDef, inputs: Arrays) -> None:
    for position, (alias, info) in enumerate(signature.inputs.items()):
        if alias in inputs and inputs[alias].dtype != dtype_of(info.dtype):
            raise invalid(
                f"Expects arg[{position}] to be {type_name(info.dtype)} but {_sent_type(inputs[alias])} is provided "
                f'(input "{alias}")'
            )


def _sent_type(array: NDArray[np.generic]) -> str:
    names = {"object": "string", "float16": "half", "float32": "float", "float64": "double"}
    return names.get(str(array.dtype), str(array.dtype))


def _outputs(signature: meta_graph_pb2.SignatureDef, output_filter: Sequence[str]) -> list[str]:
    for position, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_join(signature.outputs)}}}."
            )
        if alias in output_filter[:position]:
            raise invalid(f"duplicate output tensor alias: {alias}")
    return list(output_filter) or list(signature.outputs)


def _join(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
