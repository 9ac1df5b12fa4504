"""gRPC: Classify, Regress and MultiInference."""

from collections.abc import Sequence
from typing import Any

from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, regression_pb2

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.graph_models import CLASSIFY, PREDICT, REGRESS
from serving.conformance.target import RpcAnswer, Target, model_spec

INFERENCE = Section.GRPC_INFERENCE
Features = dict[str, float | int | bytes]


def example(features: Features) -> example_pb2.Example:
    """A tf.Example of single values."""
    message = example_pb2.Example()
    for name, value in features.items():
        feature = message.features.feature[name]
        lists = {int: feature.int64_list, float: feature.float_list, bytes: feature.bytes_list}
        lists[type(value)].value.append(value)
    return message


def input_of(examples: Sequence[Features], context: Features | None = None) -> input_pb2.Input:
    """The input of a request, with a context where one is given."""
    message = input_pb2.Input()
    if context is not None:
        message.example_list_with_context.context.CopyFrom(example(context))
        message.example_list_with_context.examples.extend(example(one) for one in examples)
    else:
        message.example_list.examples.extend(example(one) for one in examples)
    return message


def ask(
    target: Target, kind: str, examples: Sequence[Features], context: Features | None = None, **spec: Any
) -> RpcAnswer:
    """Classify or Regress on the toy model; the signature is named like the method unless given."""
    asked = model_spec("toy", **{"signature": kind, **spec})
    if kind == "classify":
        message = classification_pb2.ClassificationRequest(model_spec=asked, input=input_of(examples, context))
        return target.call(target.prediction.Classify, message)
    request = regression_pb2.RegressionRequest(model_spec=asked, input=input_of(examples, context))
    return target.call(target.prediction.Regress, request)


def multi(target: Target, tasks: Sequence[tuple[str, str, str]]) -> RpcAnswer:
    """MultiInference with tasks (model, signature, method name) on two examples."""
    request = inference_pb2.MultiInferenceRequest(input=input_of([{"x": 0.25}, {"x": 0.5}]))
    for model, signature, method in tasks:
        request.tasks.add(model_spec=model_spec(model, signature=signature), method_name=method)
    return target.call(target.prediction.MultiInference, request)


def classes(answer: RpcAnswer) -> list[list[tuple[str, float]]]:
    """Label and score of each class of each example."""
    result = checks.rpc_ok(answer).result
    return [[(one.label, one.score) for one in row.classes] for row in result.classifications]


def values(answer: RpcAnswer) -> list[float]:
    """The value of each example."""
    return [one.value for one in checks.rpc_ok(answer).result.regressions]


@case(INFERENCE)
def classify(target: Target) -> None:
    """Classify answers label and score of each class of each example."""
    answer = ask(target, "classify", [{"x": 0.25}, {"x": 0.5, "word": b"pos"}])
    expected = [[("neg", 0.25), ("other", 0.75)], [("pos", 0.5), ("other", 0.5)]]
    checks.equal("classifications", classes(answer), expected, answer.sent)


@case(INFERENCE, rows=[("labels", [("neg", 0.0), ("other", 0.0)]), ("scores", [("", 0.25), ("", 0.75)])])
def classify_half(target: Target, signature: str, expected: list[tuple[str, float]]) -> None:
    """Classify takes a signature with {0} alone: {1}."""
    answer = ask(target, "classify", [{"x": 0.25}], signature=signature)
    checks.equal("classifications", classes(answer), [expected], answer.sent)


@case(INFERENCE, rows=[("regress",), ("regress_column",)])
def regress(target: Target, signature: str) -> None:
    """Regress answers one value for each example (signature {0}: outputs [B] or [B, 1])."""
    answer = ask(target, "regress", [{"x": 0.25}, {"x": 0.5, "id": 3}], signature=signature)
    checks.equal("regressions", values(answer), [0.25, 3.5], answer.sent)


@case(INFERENCE, rows=[("classify",), ("regress",)])
def model_spec_of_the_answer(target: Target, kind: str) -> None:
    """The answer of {0} names model, version and signature; versions and labels are heard."""
    for spec, version in (({}, 2), ({"version": 1}, 1), ({"label": "stable"}, 1)):
        answer = ask(target, kind, [{"x": 0.25}], **spec)
        received = checks.rpc_ok(answer).model_spec
        wanted = ("toy", version, kind)
        checks.equal(
            "model_spec", (received.name, received.version.value, received.signature_name), wanted, answer.sent
        )


@case(INFERENCE)
def context(target: Target) -> None:
    """The features of example_list_with_context's context are added to every example."""
    answer = ask(target, "regress", [{"x": 0.25}, {"x": 0.5}], {"scale": 2.0})
    checks.equal("regressions", values(answer), [0.5, 1.0], answer.sent)


@case(INFERENCE)
def example_over_context(target: Target) -> None:
    """A feature of the example goes before the context's."""
    answer = ask(target, "regress", [{"x": 0.25, "scale": 4.0}, {"x": 0.5}], {"scale": 2.0})
    checks.equal("regressions", values(answer), [1.0, 1.0], answer.sent)


@case(INFERENCE, rows=[("classify",), ("regress",)])
def empty_input(target: Target, kind: str) -> None:
    """{0} without examples: INVALID_ARGUMENT."""
    checks.rpc_error(ask(target, kind, []), "INVALID_ARGUMENT", "Input is empty")


@case(INFERENCE, rows=[("classify",), ("regress",)])
def missing_feature(target: Target, kind: str) -> None:
    """{0} on an example that lacks a required feature: INVALID_ARGUMENT."""
    checks.rpc_error(ask(target, kind, [{"id": 1}]), "INVALID_ARGUMENT", "x")


@case(INFERENCE, rows=[("classify",), ("regress",)])
def wrong_feature_type(target: Target, kind: str) -> None:
    """{0} on an int64 where a float is wanted: INVALID_ARGUMENT."""
    checks.rpc_error(ask(target, kind, [{"x": 1}]), "INVALID_ARGUMENT", "x")


@case(INFERENCE, rows=[("classify",), ("regress",)])
def no_model_spec(target: Target, kind: str) -> None:
    """{0} without model_spec: INVALID_ARGUMENT "Missing ModelSpec"."""
    if kind == "classify":
        answer = target.call(target.prediction.Classify, classification_pb2.ClassificationRequest())
    else:
        answer = target.call(target.prediction.Regress, regression_pb2.RegressionRequest())
    checks.rpc_error(answer, "INVALID_ARGUMENT", "Missing ModelSpec")


@case(INFERENCE, rows=[("classify",), ("regress",)])
def unknown_version(target: Target, kind: str) -> None:
    """{0} on an unknown version: NOT_FOUND."""
    answer = ask(target, kind, [{"x": 0.5}], version=77)
    checks.rpc_error(answer, "NOT_FOUND", "Servable not found for request: Specific(toy, 77)")


@case(INFERENCE, rows=[("classify",), ("regress",)])
def unknown_signature(target: Target, kind: str) -> None:
    """{0} on an unknown signature: INVALID_ARGUMENT, where Predict says FAILED_PRECONDITION."""
    checks.rpc_error(ask(target, kind, [{"x": 0.5}], signature="zz"), "INVALID_ARGUMENT", "zz")


@case(
    INFERENCE,
    rows=[
        ("classify", "wrong_input", "No classification inputs found in SignatureDef"),
        ("classify", "no_scores", 'Expected classification signature outputs to contain at least one of "classes"'),
        ("classify", "flat_scores", "Expected Tensor shape: [batch_size num_classes] but got"),
        ("regress", "wrong_input", "Expected one output Tensor."),
        ("regress", "scores", "No regression outputs found in SignatureDef"),
        (
            "regress",
            "regress_wide",
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got",
        ),
        ("regress", "regress_int", "Expected output Tensor of DT_FLOAT."),
    ],
)
def unfit_signature(target: Target, kind: str, signature: str, text: str) -> None:
    """{0} on the signature {1}, which does not fit: INVALID_ARGUMENT: {2}."""
    checks.rpc_error(ask(target, kind, [{"x": 0.5}], signature=signature), "INVALID_ARGUMENT", text)


@case(INFERENCE, on="plain")
def method_name_check(target: Target) -> None:
    """With --enable_signature_method_name_check Regress takes only signatures whose method_name is regress."""
    request = regression_pb2.RegressionRequest(model_spec=model_spec("counting", signature="regress"))
    request.input.CopyFrom(input_of([{"x": 0.5}]))
    fit = target.call(target.prediction.Regress, request)
    request.model_spec.signature_name = "regress_predict"
    unfit = target.call(target.prediction.Regress, request)
    checks.equal("regressions", values(fit), [0.5], fit.sent)
    checks.rpc_error(unfit, "INVALID_ARGUMENT", "Expected regression signature method_name to be")


@case(INFERENCE)
def multi_inference(target: Target) -> None:
    """MultiInference answers Classify and Regress on one input, in the order of the tasks."""
    tasks = [("counting", "regress", REGRESS), ("counting", "classify", CLASSIFY)]
    answer = multi(target, tasks)
    first, second = checks.rpc_ok(answer).results
    regressions = [one.value for one in first.regression_result.regressions]
    checks.equal("regressions", regressions, [0.25, 0.5], answer.sent)
    rows = second.classification_result.classifications
    received = [[(one.label, one.score) for one in row.classes] for row in rows]
    checks.equal("classes", received, [[("yes", 0.25), ("no", 0.75)], [("yes", 0.5), ("no", 0.5)]], answer.sent)
    for result, signature in ((first, "regress"), (second, "classify")):
        spec = (result.model_spec.name, result.model_spec.version.value, result.model_spec.signature_name)
        checks.equal("model_spec", spec, ("counting", 1, signature), answer.sent)


@case(INFERENCE)
def multi_inference_one_task(target: Target) -> None:
    """MultiInference takes one task."""
    answer = multi(target, [("toy", "regress", REGRESS)])
    received = [one.value for one in checks.rpc_ok(answer).results[0].regression_result.regressions]
    checks.equal("regressions", received, [0.25, 0.5], answer.sent)


@case(
    INFERENCE,
    rows=[
        ([("counting", "regress", REGRESS)] * 2, "INVALID_ARGUMENT", "Duplicate evaluation of signature: regress"),
        ([("counting", "regress", REGRESS), ("toy", "classify", CLASSIFY)], "INVALID_ARGUMENT", "same model name"),
        (
            [("toy", "regress", REGRESS), ("toy", "classify", CLASSIFY)],
            "INVALID_ARGUMENT",
            "Input tensor must be the same",
        ),
        ([("counting", "zz", REGRESS)], "INVALID_ARGUMENT", "zz"),
        ([("counting", "regress", PREDICT)], "UNIMPLEMENTED", "Unsupported signature method_name"),
        ([("nobody", "regress", REGRESS)], "NOT_FOUND", "Servable not found for request: Latest(nobody)"),
    ],
)
def bad_tasks(target: Target, tasks: list[tuple[str, str, str]], code: str, text: str) -> None:
    """MultiInference with the tasks {0}: {1} {2}."""
    checks.rpc_error(multi(target, tasks), code, text)


@case(INFERENCE)
def no_tasks(target: Target) -> None:
    """MultiInference without tasks: INVALID_ARGUMENT."""
    checks.rpc_error(multi(target, []), "INVALID_ARGUMENT")
