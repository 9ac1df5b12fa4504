"""Classify and Regress: signatures that read serialized tf.Examples, with TF Serving's checks of both ends."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.predictor import DEFAULT_SIGNATURE
from serving.server.servable import Servable
from serving.server.serving_error import invalid

Array = NDArray[np.generic]

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
INPUTS = "inputs"
CLASSES, SCORES, OUTPUTS = "classes", "scores", "outputs"


@dataclass(frozen=True)
class Classes:
    """What a classification gives, for B examples and C classes; at least one of both.

    Attributes:
        labels: Bytes [B, C], or None.
        scores: float32 [B, C], or None.
    """

    labels: Array | None
    scores: Array | None


@dataclass(frozen=True)
class Heads:
    """The tensors of a signature that a method uses.

    Attributes:
        feed: Name of the tensor that takes the serialized examples.
        fetches: Output name ("classes", "scores", "outputs") to tensor name.
    """

    feed: str
    fetches: Mapping[str, str]


def classify(
    servable: Servable, signature_name: str, examples: Array, timeout_ms: int = 0, check_method: bool = False
) -> Classes:
    """Classifies examples.

    Args:
        servable: The loaded model.
        signature_name: One of its signatures; "" = `serving_default`.
        examples: Serialized tf.Examples, object [B].
        timeout_ms: The work is given up after this time, see `Servable.run`; 0 = never.
        check_method: Take only signatures whose method name says that they classify, which TF 2 never writes.

    Returns:
        Labels and scores, of shape [B, C].

    Raises:
        ServingError: INVALID_ARGUMENT, the signature is unknown or does not classify, there is no example, or the
            outputs have other types or shapes; or what the graph raised.
    """
    heads = classify_heads(_find(servable, signature_name), check_method)
    values = run_heads(servable, [heads], examples, timeout_ms)
    return read_classes(heads, values, len(examples))


def regress(
    servable: Servable, signature_name: str, examples: Array, timeout_ms: int = 0, check_method: bool = False
) -> Array:
    """Computes one number per example.

    Args:
        servable: The loaded model.
        signature_name: One of its signatures; "" = `serving_default`.
        examples: Serialized tf.Examples, object [B].
        timeout_ms: The work is given up after this time, see `Servable.run`; 0 = never.
        check_method: Take only signatures whose method name says that they regress, which TF 2 never writes.

    Returns:
        float32 [B].

    Raises:
        ServingError: As for `classify`.
    """
    heads = regress_heads(_find(servable, signature_name), check_method)
    values = run_heads(servable, [heads], examples, timeout_ms)
    return read_regressions(heads, values, len(examples))


def classify_heads(signature: meta_graph_pb2.SignatureDef, check_method: bool = False) -> Heads:
    """The tensors with which a signature classifies.

    Raises:
        ServingError: INVALID_ARGUMENT, it has other inputs than "inputs" or neither "classes" nor "scores", or
            another method name where that is checked.
    """
    if check_method and signature.method_name != CLASSIFY_METHOD:
        raise invalid(
            f"Expected classification signature method_name to be {CLASSIFY_METHOD}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise invalid(f"No classification inputs found in SignatureDef: {signature}")
    fetches = {key: signature.outputs[key].name for key in (CLASSES, SCORES) if key in signature.outputs}
    if not fetches:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature '
            f"was: {signature}"
        )
    return Heads(signature.inputs[INPUTS].name, fetches)


def regress_heads(signature: meta_graph_pb2.SignatureDef, check_method: bool = False) -> Heads:
    """The tensors with which a signature regresses.

    Raises:
        ServingError: INVALID_ARGUMENT, it has other inputs than "inputs" or other outputs than "outputs", or another
            method name where that is checked.
    """
    if check_method and signature.method_name != REGRESS_METHOD:
        raise invalid(f"Expected regression signature method_name to be {REGRESS_METHOD}. Was: {signature.method_name}")
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise invalid(f"No regression inputs found in SignatureDef: {signature}")
    if OUTPUTS not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {signature}")
    return Heads(signature.inputs[INPUTS].name, {OUTPUTS: signature.outputs[OUTPUTS].name})


def run_heads(servable: Servable, heads: Sequence[Heads], examples: Array, timeout_ms: int = 0) -> Mapping[str, Array]:
    """Runs what several heads on one input tensor need, once.

    Args:
        servable: The loaded model.
        heads: At least one; all with the same `feed`.
        examples: Serialized tf.Examples, object [B].
        timeout_ms: The work is given up after this time, see `Servable.run`; 0 = never.

    Returns:
        Tensor name to value.

    Raises:
        ServingError: INVALID_ARGUMENT, there is no example; or what the graph raised.
    """
    if len(examples) == 0:
        raise invalid("Input is empty.")
    names = sorted({name for head in heads for name in head.fetches.values()})
    return dict(zip(names, servable.run({heads[0].feed: examples}, names, timeout_ms), strict=True))


def read_classes(heads: Heads, values: Mapping[str, Array], batch: int) -> Classes:
    """Takes labels and scores of `batch` examples from what `run_heads` computed.

    Raises:
        ServingError: INVALID_ARGUMENT, wrong types or shapes.
    """
    labels, scores = _pick(heads, CLASSES, values), _pick(heads, SCORES, values)
    for name, array, data_type in ((CLASSES, labels, types_pb2.DT_STRING), (SCORES, scores, types_pb2.DT_FLOAT)):
        if array is not None:
            _check_classes(name, array, data_type, batch)
    if labels is not None and scores is not None and labels.shape[1] != scores.shape[1]:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {labels.shape[1]} vs. {scores.shape[1]}"
        )
    return Classes(labels, scores)


def read_regressions(heads: Heads, values: Mapping[str, Array], batch: int) -> Array:
    """Takes the numbers of `batch` examples from what `run_heads` computed: float32 [batch].

    Raises:
        ServingError: INVALID_ARGUMENT, wrong type or shape.
    """
    array = values[heads.fetches[OUTPUTS]]
    if array.ndim != 1 and array.shape[1:] != (1,):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape_text(array.shape)}"
        )
    if len(array) != batch:
        raise invalid(f"Input batch size did not match output batch size: {batch} vs. {len(array)}")
    if array.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_type_text(array)}")
    return array.reshape(-1)


def _find(servable: Servable, name: str) -> meta_graph_pb2.SignatureDef:
    name = name or DEFAULT_SIGNATURE
    if name not in servable.signatures:
        raise invalid(f"No signature was found with the name: {name}")
    return servable.signatures[name]


def _pick(heads: Heads, key: str, values: Mapping[str, Array]) -> Array | None:
    return values[heads.fetches[key]] if key in heads.fetches else None


def _check_classes(name: str, array: Array, data_type: int, batch: int) -> None:
    if array.ndim != 2:
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape_text(array.shape)}")
    found, wanted = _type_text(array), types_pb2.DataType.Name(data_type)
    if found != wanted:
        raise invalid(f"Expected {name} Tensor of {wanted}. Got: {found}")
    if len(array) != batch:
        raise invalid(f"Expected {name} output batch size of {batch}. Got: {len(array)}")


def _type_text(array: Array) -> str:
    return types_pb2.DataType.Name(tf.as_dtype(array.dtype).as_datatype_enum)


def _shape_text(shape: Iterable[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
