"""Classify, Regress and MultiInference over gRPC: answers, codes and messages held against TF Serving's."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.publisher import publish
from serving.server.inference import classify, regress
from serving.server.inference_messages import (
    classify_message,
    multi_inference_message,
    regress_message,
    serialized_examples,
)
from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions, single_model
from serving.server.servable import Servable
from serving.server.serving_error import Code, ServingError
from tests.grpc_support import INVALID, fails
from tests.server_models import export_example_reader

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("reader")
    publish(model_dir, export_example_reader)
    return model_dir


@pytest.fixture(scope="module")
def servable(model_dir: Path) -> Iterator[Servable]:
    servable = Servable(model_dir / "1")
    yield servable
    servable.close()


@pytest.fixture(scope="module")
def stub(model_dir: Path) -> Iterator[Any]:
    server = ModelServer(ServerOptions((single_model("reader", str(model_dir)),), grpc_port=0, rest_port=None))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)
    server.stop()


def example(**values: Any) -> tf.train.Example:
    out = tf.train.Example()
    for name, value in values.items():
        feature = out.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    return out


def some_examples() -> input_pb2.Input:
    out = input_pb2.Input()
    out.example_list.examples.extend([example(x=0.25, word=b"a"), example(x=0.5)])
    return out


def fill(request: Any, signature: str = "", model: str = "reader") -> Any:
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    request.input.CopyFrom(some_examples())
    return request


def classification(signature: str = "", model: str = "reader") -> Any:
    return fill(classification_pb2.ClassificationRequest(), signature, model)


def regression(signature: str = "regress", model: str = "reader") -> Any:
    return fill(regression_pb2.RegressionRequest(), signature, model)


def tasks(*wanted: tuple[str, str], model: str = "reader") -> inference_pb2.MultiInferenceRequest:
    out = inference_pb2.MultiInferenceRequest(input=some_examples())
    for method, signature in wanted:
        task = out.tasks.add(method_name=method)
        task.model_spec.name = model
        task.model_spec.signature_name = signature
    return out


def refused(call: Any) -> str:
    with pytest.raises(ServingError) as raised:
        call()
    assert raised.value.code is Code.INVALID_ARGUMENT
    return raised.value.message


def rows(result: classification_pb2.ClassificationResult) -> list[list[tuple[str, float]]]:
    return [[(one.label, one.score) for one in row.classes] for row in result.classifications]


def test_classify(stub: Any) -> None:
    response = stub.Classify(classification())
    assert rows(response.result) == [[("a", 0.25), ("other", 0.75)], [("none", 0.5), ("other", 0.5)]]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("reader", 1, "serving_default")


def test_labels_or_scores_alone(stub: Any) -> None:
    assert rows(stub.Classify(classification("labels")).result)[0] == [("a", 0.0), ("other", 0.0)]
    response = stub.Classify(classification("scores"))
    assert rows(response.result)[0] == [("", 0.25), ("", 0.75)]
    assert response.model_spec.signature_name == "scores"


@pytest.mark.parametrize("signature", ["regress", "column"])
def test_regress(stub: Any, signature: str) -> None:
    response = stub.Regress(regression(signature))
    assert [one.value for one in response.result.regressions] == [0.5, 1.0]
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (1, signature)


def test_context_is_put_before_every_example(stub: Any) -> None:
    request = classification()
    request.input.Clear()
    given = request.input.example_list_with_context
    given.context.CopyFrom(example(x=0.75, word=b"both"))
    given.examples.extend([example(word=b"own"), example(x=0.5)])
    # An example's own feature wins.
    assert rows(stub.Classify(request).result) == [[("own", 0.75), ("other", 0.25)], [("both", 0.5), ("other", 0.5)]]


def test_empty_inputs(stub: Any) -> None:
    for kind in (None, "example_list", "example_list_with_context"):
        request = regression()
        request.input.Clear()
        if kind:
            getattr(request.input, kind).SetInParent()
        assert fails(partial(stub.Regress, request)) == (INVALID, "Input is empty.")


def test_labels_that_are_no_text_are_replaced(stub: Any) -> None:
    request = classification()
    request.input.example_list.examples[0].CopyFrom(example(x=0.0, word=b"\xffa"))
    assert rows(stub.Classify(request).result)[0][0] == ("\ufffda", 0.0)


@pytest.mark.parametrize("method", ["Classify", "Regress"])
def test_which_model(stub: Any, method: str) -> None:
    call = getattr(stub, method)
    asked = classification(model="q") if method == "Classify" else regression(model="q")
    assert fails(lambda: call(type(asked)())) == (INVALID, "Missing ModelSpec")
    code, message = fails(lambda: call(asked))
    assert (code.name, message) == ("NOT_FOUND", "Servable not found for request: Latest(q)")
    asked.model_spec.name = "reader"
    asked.model_spec.version.value = 7
    code, message = fails(lambda: call(asked))
    assert (code.name, message) == ("NOT_FOUND", "Servable not found for request: Specific(reader, 7)")
    asked.model_spec.version_label = "x"
    assert fails(lambda: call(asked)) == (INVALID, "Unrecognized servable version label: x")


def test_what_the_graph_refuses(stub: Any) -> None:
    request = regression()
    request.input.example_list.examples.append(example(word=b"no x"))
    code, message = fails(lambda: stub.Regress(request))
    assert code == INVALID
    assert "x" in message


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("zz", "No signature was found with the name: zz"),
        ("two_inputs", "Expected one input Tensor."),
        ("many", "Expected one or two output Tensors, found 3"),
        ("other_key", "No classification inputs found in SignatureDef: "),
        ("other", 'Expected classification signature outputs to contain at least one of "classes" or "scores". Signa'),
        ("flat_scores", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ("text_scores", "Expected scores Tensor of DT_FLOAT. Got: DT_STRING"),
        ("float_classes", "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ("longer", "Expected scores output batch size of 2. Got: 3"),
        ("uneven", "Tensors class and score should match in dim_size(1). Got 2 vs. 3"),
        ("__saved_model_init_op", "Expected one input Tensor."),
    ],
)
def test_signatures_that_do_not_classify(servable: Servable, signature: str, message: str) -> None:
    assert refused(lambda: classify_message(servable, classification(signature))).startswith(message)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("zz", "No signature was found with the name: zz"),
        ("two_inputs", "Expected one input Tensor."),
        ("serving_default", "Expected one output Tensor."),
        ("other_key", "No regression inputs found in SignatureDef: "),
        ("scores", "No regression outputs found in SignatureDef: "),
        ("pair", "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]"),
        ("longer_outputs", "Input batch size did not match output batch size: 2 vs. 3"),
        ("doubles", "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
    ],
)
def test_signatures_that_do_not_regress(servable: Servable, signature: str, message: str) -> None:
    assert refused(lambda: regress_message(servable, regression(signature))).startswith(message)


def test_method_names_are_checked_only_when_asked_for(servable: Servable) -> None:
    examples = serialized_examples(some_examples())
    assert refused(lambda: classify(servable, "", examples, check_method=True)) == (
        "Expected classification signature method_name to be tensorflow/serving/classify. Was: "
        "tensorflow/serving/predict"
    )
    assert refused(lambda: regress(servable, "regress", examples, check_method=True)) == (
        "Expected regression signature method_name to be tensorflow/serving/regress. Was: tensorflow/serving/predict"
    )
    classes = classify(servable, "apart", examples, check_method=True)
    assert classes.scores is not None
    np.testing.assert_array_equal(classes.scores, [[0.25, 0.75], [0.5, 0.5]])


def test_multi_inference(stub: Any) -> None:
    response = stub.MultiInference(tasks((CLASSIFY, ""), (REGRESS, "regress")))
    first, second = response.results
    assert rows(first.classification_result)[1] == [("none", 0.5), ("other", 0.5)]
    assert [one.value for one in second.regression_result.regressions] == [0.5, 1.0]
    specs = [
        (one.model_spec.name, one.model_spec.version.value, one.model_spec.signature_name) for one in (first, second)
    ]
    assert specs == [("reader", 1, "serving_default"), ("reader", 1, "regress")]


def test_multi_inference_names_its_model_in_the_first_task(stub: Any) -> None:
    nobody = (INVALID, "ModelSpec has no name specified.")
    assert fails(lambda: stub.MultiInference(tasks())) == nobody
    assert fails(lambda: stub.MultiInference(tasks((REGRESS, "regress"), model=""))) == nobody
    code, message = fails(lambda: stub.MultiInference(tasks((REGRESS, "regress"), model="q")))
    assert (code.name, message) == ("NOT_FOUND", "Servable not found for request: Latest(q)")
    request = tasks((REGRESS, "regress"))
    request.tasks[0].model_spec.version.value = 7
    assert fails(lambda: stub.MultiInference(request))[1] == "Servable not found for request: Specific(reader, 7)"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([(REGRESS, "regress"), (REGRESS, "regress")], "Duplicate evaluation of signature: regress"),
        ([(CLASSIFY, ""), (CLASSIFY, "serving_default")], "Duplicate evaluation of signature: serving_default"),
        ([(CLASSIFY, "zz")], "Requested signature not found in model graph: zz"),
        ([(CLASSIFY, "apart"), (REGRESS, "regress")], "Input tensor must be the same for all Signatures."),
        ([(REGRESS, "scores")], "No regression outputs found in SignatureDef: "),
        ([], "ModelSpec has no name specified."),
    ],
)
def test_tasks_that_do_not_fit(servable: Servable, wanted: list[tuple[str, str]], message: str) -> None:
    assert refused(lambda: multi_inference_message(servable, tasks(*wanted))).startswith(message)


def test_tasks_of_several_models(servable: Servable) -> None:
    request = tasks((CLASSIFY, ""), (REGRESS, "regress"))
    request.tasks[1].model_spec.name = "other"
    message = "All ModelSpecs in a MultiInferenceRequest must access the same model name."
    assert refused(lambda: multi_inference_message(servable, request)) == message
    request.tasks[1].model_spec.name = ""
    assert refused(lambda: multi_inference_message(servable, request)) == "Found ModelSpec with an empty model name."


def test_unknown_method(stub: Any) -> None:
    code, message = fails(lambda: stub.MultiInference(tasks(("predict", ""))))
    assert (code.name, message) == ("UNIMPLEMENTED", "Unsupported signature method_name: predict")


def test_work_is_given_up_at_the_deadline(servable: Servable) -> None:
    for call in (
        lambda: regress_message(servable, regression("slow"), 200),
        lambda: multi_inference_message(servable, tasks((REGRESS, "slow")), 200),
    ):
        with pytest.raises(ServingError) as raised:
            call()
        assert raised.value.code is Code.DEADLINE_EXCEEDED
