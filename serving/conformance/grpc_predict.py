"""gRPC: Predict and the status codes that all methods share."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.models import GRPC_THREADS
from serving.conformance.target import Target, model_spec
from serving.conformance.toy_model import ECHO_TYPES, TYPES_WITHOUT_JSON

PREDICT = Section.GRPC_PREDICT
STATUS = Section.GRPC_STATUS
X = np.array([[1, 2]], np.float32)
N = np.array([3], np.int64)
BOTH = {"x": X, "n": N}


@case(PREDICT)
def serving_default(target: Target) -> None:
    """A request without signature name runs serving_default of the highest version."""
    checks.outputs(target.predict(BOTH), {"y": [[3, 6]], "twice": [6]})


@case(PREDICT, rows=[(1, 2.0), (2, 3.0)])
def version(target: Target, number: int, factor: float) -> None:
    """model_spec.version {0} is answered by that version."""
    checks.outputs(target.predict({"x": X}, version=number, signature="single"), {"y": factor * X})


@case(PREDICT, rows=[("stable", 2.0), ("canary", 3.0)])
def label(target: Target, name: str, factor: float) -> None:
    """model_spec.version_label {0} is answered by the version it stands for."""
    checks.outputs(target.predict({"x": X}, label=name, signature="single"), {"y": factor * X})


@case(PREDICT)
def model_spec_of_the_answer(target: Target) -> None:
    """The answer's model_spec has name, version and signature, the default's name spelled out."""
    for asked, name in (("", "serving_default"), ("serving_default", "serving_default")):
        spec = checks.rpc_ok(target.predict(BOTH, signature=asked)).model_spec
        checks.equal("model_spec", (spec.name, spec.version.value, spec.signature_name), ("toy", 2, name))


@case(PREDICT)
def typed_values(target: Target) -> None:
    """Outputs are typed value fields, not tensor_content."""
    response = checks.rpc_ok(target.predict(BOTH))
    y, twice = response.outputs["y"], response.outputs["twice"]
    checks.equal("y.float_val", list(y.float_val), [3.0, 6.0])
    checks.equal("twice.int64_val", list(twice.int64_val), [6])
    checks.equal("tensor_content", (y.tensor_content, twice.tensor_content), (b"", b""))


@case(PREDICT)
def every_type(target: Target) -> None:
    """Every type goes in and comes out."""
    values = {name: np.ones([2], dtype.as_numpy_dtype) for name, dtype in ECHO_TYPES.items() if name != "text"}
    answer = target.predict({**values, "text": np.array([b"a", b"\xff"], object)}, signature="echo")
    expected: dict[str, Any] = {f"{name}_out": value for name, value in values.items()}
    checks.outputs(answer, {**expected, "text_out": np.array([b"a", b"\xff"], object)})


@case(PREDICT, rows=[("half",), ("bfloat16",), ("complex64",)])
def types_without_json_form(target: Target, name: str) -> None:
    """Tensors of type {0}, which REST refuses, go in and come out."""
    value = np.ones([2], TYPES_WITHOUT_JSON[name].as_numpy_dtype)
    checks.outputs(target.predict({"v": value}, signature=f"no_{name}"), {"v_out": value})


@case(PREDICT)
def typed_and_packed_inputs(target: Target) -> None:
    """An input may come as typed values; fewer values than elements repeat the last."""
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1, 2])
    tensor.tensor_shape.dim.add(size=4)
    request = predict_pb2.PredictRequest(model_spec=model_spec("toy", signature="single"), inputs={"x": tensor})
    checks.outputs(target.call(target.prediction.Predict, request), {"y": [3, 6, 6, 6]})


@case(PREDICT)
def default_input(target: Target) -> None:
    """An input with a default in the signature may be left out, or given."""
    checks.outputs(target.predict({"x": X}, signature="scaled"), {"y": 3 * X})
    checks.outputs(target.predict({"x": X, "scale": np.float32(5)}, signature="scaled"), {"y": 5 * X})


@case(PREDICT)
def output_filter(target: Target) -> None:
    """output_filter limits the outputs."""
    checks.outputs(target.predict(BOTH, output_filter=["twice"]), {"twice": [6]})


@case(PREDICT)
def bad_output_filter(target: Target) -> None:
    """An unknown name in output_filter: INVALID_ARGUMENT."""
    checks.rpc_error(target.predict(BOTH, output_filter=["z"]), "INVALID_ARGUMENT", "z")


@case(PREDICT)
def duplicate_output_filter(target: Target) -> None:
    """A name twice in output_filter: INVALID_ARGUMENT."""
    checks.rpc_error(target.predict(BOTH, output_filter=["y", "y"]), "INVALID_ARGUMENT", "duplicate")


@case(PREDICT)
def no_inputs(target: Target) -> None:
    """A request without inputs: INVALID_ARGUMENT that counts and names them."""
    text = "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}."
    checks.rpc_error(target.predict({}, signature="single"), "INVALID_ARGUMENT", text)


@case(PREDICT)
def extra_input(target: Target) -> None:
    """An extra input: INVALID_ARGUMENT that names it."""
    text = (
        "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. Missing but required: {}."
    )
    checks.rpc_error(target.predict({"x": X, "z": X}, signature="single"), "INVALID_ARGUMENT", text)


@case(PREDICT)
def renamed_input(target: Target) -> None:
    """As many inputs as wanted, one under a wrong name: INVALID_ARGUMENT."""
    checks.rpc_error(target.predict({"x": X, "z": N}), "INVALID_ARGUMENT")


@case(PREDICT)
def wrong_dtype(target: Target) -> None:
    """An input of another dtype: INVALID_ARGUMENT."""
    checks.rpc_error(target.predict({"x": X.astype(np.float64)}, signature="single"), "INVALID_ARGUMENT")


@case(PREDICT)
def malformed_tensor(target: Target) -> None:
    """A tensor whose content does not fit its shape: INVALID_ARGUMENT that names the input."""
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"123")
    tensor.tensor_shape.dim.add(size=4)
    request = predict_pb2.PredictRequest(model_spec=model_spec("toy", signature="single"), inputs={"x": tensor})
    checks.rpc_error(target.call(target.prediction.Predict, request), "INVALID_ARGUMENT", "x")


@case(PREDICT)
def error_of_the_graph(target: Target) -> None:
    """An assertion that fails in the graph: INVALID_ARGUMENT with its text."""
    answer = target.predict({"n": np.array([-1], np.int64)}, signature="checked")
    checks.rpc_error(answer, "INVALID_ARGUMENT", "n must not be negative")


@case(STATUS, rows=[("/no/such/file", "NOT_FOUND"), ("/", "FAILED_PRECONDITION")])
def codes_of_the_graph(target: Target, file: str, code: str) -> None:
    """A graph that reads the file {0} fails with {1}, which is passed on."""
    checks.rpc_error(target.predict({"file": np.array([file.encode()], object)}, signature="read"), code)


@case(PREDICT)
def shape_is_not_checked(target: Target) -> None:
    """Input shapes are not held against the signature: [1, 3] runs where it says [None, 2]."""
    wide = np.ones([1, 3], np.float32)
    checks.outputs(target.predict({"x": wide, "n": N}), {"y": 3 * wide, "twice": [6]})


@case(STATUS)
def no_model_spec(target: Target) -> None:
    """A request without model_spec: INVALID_ARGUMENT "Missing ModelSpec"."""
    answer = target.call(target.prediction.Predict, predict_pb2.PredictRequest())
    checks.rpc_error(answer, "INVALID_ARGUMENT", "Missing ModelSpec")


@case(STATUS)
def no_name(target: Target) -> None:
    """A model_spec without a name: INVALID_ARGUMENT."""
    checks.rpc_error(target.predict(BOTH, model=""), "INVALID_ARGUMENT", "ModelSpec has no name specified.")


@case(STATUS)
def unknown_model(target: Target) -> None:
    """An unknown model: NOT_FOUND."""
    checks.rpc_error(target.predict(BOTH, model="q"), "NOT_FOUND", "Servable not found for request: Latest(q)")


@case(STATUS)
def unknown_version(target: Target) -> None:
    """An unknown version: NOT_FOUND."""
    text = "Servable not found for request: Specific(toy, 77)"
    checks.rpc_error(target.predict(BOTH, version=77), "NOT_FOUND", text)


@case(STATUS)
def unknown_label(target: Target) -> None:
    """An unknown label: INVALID_ARGUMENT."""
    answer = target.predict(BOTH, label="none")
    checks.rpc_error(answer, "INVALID_ARGUMENT", "Unrecognized servable version label: none")


@case(STATUS)
def unknown_signature(target: Target) -> None:
    """An unknown signature: FAILED_PRECONDITION."""
    answer = target.predict(BOTH, signature="zz")
    checks.rpc_error(answer, "FAILED_PRECONDITION", 'Serving signature key "zz" not found.')


@case(STATUS)
def long_message(target: Target) -> None:
    """A status message is cut after 1024 bytes and marked."""
    answer = target.predict(BOTH, signature="z" * 3000)
    checks.rpc_error(answer, "FAILED_PRECONDITION", 'Serving signature key "zzz')
    received = (len(answer.details), answer.details[-12:])
    checks.equal("length and end", received, (1024 + len("...TRUNCATED"), "...TRUNCATED"), answer.sent)


@case(STATUS)
def large_messages(target: Target) -> None:
    """Requests and answers far above gRPC's usual 4 MiB are taken."""
    answer = target.predict({"x": np.ones([4_000_000], np.float32)}, signature="single")
    checks.equal("values", len(checks.rpc_ok(answer).outputs["y"].float_val), 4_000_000, answer.sent)


@case(STATUS)
def deadline(target: Target) -> None:
    """A client's deadline that passes: DEADLINE_EXCEEDED, and the work that was not begun is not done."""

    def finished() -> int:
        answer = target.predict({"x": np.ones([1], np.float32)}, signature="finished")
        return int(checks.rpc_ok(answer).outputs["count"].int64_val[0])

    before = finished()
    answer = target.predict({"seconds": np.float64(2.0)}, timeout_s=0.5, signature="slow")
    checks.rpc_error(answer, "DEADLINE_EXCEEDED")
    checks.outputs(target.predict({"seconds": np.float64(2.5)}, signature="slow"), {"waited": [1]})
    checks.equal("slow calls that ran to their end", finished(), before + 1, answer.sent)


@case(STATUS)
def too_many_calls(target: Target) -> None:
    """Above --grpc_max_threads calls at once: RESOURCE_EXHAUSTED for some, an answer for the others."""
    calls = 3 * GRPC_THREADS
    with ThreadPoolExecutor(calls) as pool:
        work = [pool.submit(target.predict, {"seconds": np.float64(0.5)}, signature="slow") for _ in range(calls)]
        codes = sorted({one.result().code for one in work})
    checks.equal("status codes", codes, ["OK", "RESOURCE_EXHAUSTED"], f"{calls} Predict requests of 0.5 s at once")
