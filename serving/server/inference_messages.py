"""Classify, Regress and MultiInference requests to responses."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, regression_pb2

from serving.server import inference
from serving.server.inference import Classes, Heads
from serving.server.predictor import DEFAULT_SIGNATURE
from serving.server.servable import Servable
from serving.server.serving_error import Code, ServingError, invalid

Array = NDArray[np.generic]


def serialized_examples(given: input_pb2.Input) -> Array:
    """The examples of a request, each serialized; a context is put before each of them.

    Returns:
        Object [B] of bytes; empty where none are given.
    """
    if given.WhichOneof("kind") == "example_list_with_context":
        examples = given.example_list_with_context.examples
        context = given.example_list_with_context.context.SerializeToString()
    else:
        examples, context = given.example_list.examples, b""
    out = np.empty(len(examples), dtype=object)
    for index, example in enumerate(examples):
        # Serialized messages put one after the other are the merged message.
        out[index] = context + example.SerializeToString()
    return out


def classify_message(
    servable: Servable,
    request: classification_pb2.ClassificationRequest,
    timeout_ms: int = 0,
    check_method: bool = False,
) -> classification_pb2.ClassificationResponse:
    """Answers a ClassificationRequest; who asks fills in the name and version of the answer's model_spec.

    Raises:
        ServingError: As for `inference.classify`.
    """
    name = request.model_spec.signature_name
    classes = inference.classify(servable, name, serialized_examples(request.input), timeout_ms, check_method)
    response = classification_pb2.ClassificationResponse()
    response.model_spec.signature_name = name or DEFAULT_SIGNATURE
    _fill_classes(response.result, classes)
    return response


def regress_message(
    servable: Servable, request: regression_pb2.RegressionRequest, timeout_ms: int = 0, check_method: bool = False
) -> regression_pb2.RegressionResponse:
    """Answers a RegressionRequest; who asks fills in the name and version of the answer's model_spec.

    Raises:
        ServingError: As for `inference.regress`.
    """
    name = request.model_spec.signature_name
    values = inference.regress(servable, name, serialized_examples(request.input), timeout_ms, check_method)
    response = regression_pb2.RegressionResponse()
    response.model_spec.signature_name = name or DEFAULT_SIGNATURE
    _fill_regressions(response.result, values)
    return response


def multi_inference_message(
    servable: Servable, request: inference_pb2.MultiInferenceRequest, timeout_ms: int = 0, check_method: bool = False
) -> inference_pb2.MultiInferenceResponse:
    """Answers a MultiInferenceRequest in one run of the graph; who asks fills in the versions of the answers.

    Raises:
        ServingError: INVALID_ARGUMENT, tasks for several models or of one signature, or as for `inference.classify`;
            UNIMPLEMENTED, a method that neither classifies nor regresses.
    """
    tasks = _task_heads(servable, request, check_method)
    if not tasks:
        raise invalid("ModelSpec has no name specified.")
    examples = serialized_examples(request.input)
    values = inference.run_heads(servable, list(tasks.values()), examples, timeout_ms)
    response = inference_pb2.MultiInferenceResponse()
    for task, (signature_name, heads) in zip(request.tasks, tasks.items(), strict=True):
        result = response.results.add()
        result.model_spec.name = task.model_spec.name
        result.model_spec.signature_name = signature_name
        if task.method_name == inference.CLASSIFY_METHOD:
            _fill_classes(result.classification_result, inference.read_classes(heads, values, len(examples)))
        else:
            _fill_regressions(result.regression_result, inference.read_regressions(heads, values, len(examples)))
    return response


def _task_heads(
    servable: Servable, request: inference_pb2.MultiInferenceRequest, check_method: bool
) -> Mapping[str, Heads]:
    """Signature name to heads, in the order of the tasks."""
    out: dict[str, Heads] = {}
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in out:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        if name not in servable.signatures:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name == inference.CLASSIFY_METHOD:
            heads = inference.classify_heads(servable.signatures[name], check_method)
        elif task.method_name == inference.REGRESS_METHOD:
            heads = inference.regress_heads(servable.signatures[name], check_method)
        else:
            raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        if any(heads.feed != other.feed for other in out.values()):
            raise invalid("Input tensor must be the same for all Signatures.")
        out[name] = heads
    return out


def _fill_classes(result: classification_pb2.ClassificationResult, classes: Classes) -> None:
    """Bytes of a label that are not UTF-8 are replaced: a message cannot hold them."""
    either = classes.labels if classes.labels is not None else classes.scores
    assert either is not None
    batch, count = either.shape
    labels = [[""] * count] * batch
    if classes.labels is not None:
        labels = [[label.decode("utf-8", "replace") for label in row] for row in classes.labels.tolist()]
    scores = classes.scores.tolist() if classes.scores is not None else [[0.0] * count] * batch
    for row_labels, row_scores in zip(labels, scores, strict=True):
        row = result.classifications.add()
        for label, score in zip(row_labels, row_scores, strict=True):
            row.classes.add(label=label, score=score)


def _fill_regressions(result: regression_pb2.RegressionResult, values: Array) -> None:
    for value in values.tolist():
        result.regressions.add(value=value)
