"""The gRPC services: answers, codes and messages held against TF Serving's."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.publisher import publish
from serving.server.model_server import AddressInUseError, ModelServer
from serving.server.options import ServerOptions, single_model
from serving.tensors import encode
from tests.grpc_support import INVALID, fails
from tests.server_models import add_default, export

MAX_REQUEST_BYTES = 1_000_000
X = np.array([[1.0, 2.0]], np.float32)
LENGTH = np.array([3], np.int64)


def export_with_default(path: Path) -> None:
    export(path)
    add_default(path, "single", "x", tf.constant([1.0, 3.0]))
    add_default(path, "serving_default", "history/length", tf.constant([4], tf.int64))


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("toy")
    publish(model_dir, export_with_default)
    return model_dir


@pytest.fixture(scope="module")
def server(model_dir: Path) -> Iterator[ModelServer]:
    model = single_model("toy", str(model_dir))
    options = ServerOptions((model,), grpc_port=0, rest_port=None, max_request_bytes=MAX_REQUEST_BYTES)
    server = ModelServer(options)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def channel(server: ModelServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request(signature: str = "", model: str = "toy", **inputs: Any) -> predict_pb2.PredictRequest:
    out = predict_pb2.PredictRequest()
    out.model_spec.name = model
    out.model_spec.signature_name = signature
    for name, value in inputs.items():
        out.inputs[name].CopyFrom(encode(np.asarray(value)))
    return out


def pair(**changed: Any) -> predict_pb2.PredictRequest:
    return request(**{"x": X, "history/length": LENGTH, **changed})


def test_predict(stub: Any) -> None:
    response = stub.Predict(pair())
    assert response.model_spec.name == "toy"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"
    assert list(response.outputs["y"].float_val) == [2.0, 4.0]
    assert not response.outputs["y"].tensor_content
    assert [dim.size for dim in response.outputs["y"].tensor_shape.dim] == [1, 2]
    assert list(response.outputs["twice"].int64_val) == [6]


def test_typed_fields_are_read_too(stub: Any) -> None:
    typed = pair()
    typed.inputs["x"].CopyFrom(tf.make_tensor_proto(X))
    typed.inputs["x"].tensor_content = b""
    typed.inputs["x"].float_val.extend([1.0, 2.0])
    assert list(stub.Predict(typed).outputs["y"].float_val) == [2.0, 4.0]


def test_output_filter(stub: Any) -> None:
    filtered = pair()
    filtered.output_filter.append("twice")
    assert list(stub.Predict(filtered).outputs) == ["twice"]
    filtered.output_filter.append("twice")
    assert fails(lambda: stub.Predict(filtered)) == (INVALID, "duplicate output tensor alias: twice")
    filtered.output_filter[:] = ["z"]
    code, message = fails(lambda: stub.Predict(filtered))
    assert code == INVALID
    assert message == ("output tensor alias not found in signature: z Outputs expected to be in the set {twice,y}.")


def test_scalars_strings_and_empty(stub: Any) -> None:
    outputs = stub.Predict(request("scalar", x=np.array([1, 2], np.float32))).outputs
    assert list(outputs["sum"].float_val) == [3.0]
    assert not outputs["sum"].tensor_shape.dim
    outputs = stub.Predict(request("words", text=np.array(["ab", b"\xff"], dtype=object))).outputs
    assert list(outputs["upper"].string_val) == [b"AB", b"\xff"]
    outputs = stub.Predict(pair(**{"x": X[:0], "history/length": LENGTH[:0]})).outputs
    assert [dim.size for dim in outputs["y"].tensor_shape.dim] == [0, 2]
    assert not outputs["y"].float_val


def test_missing_spec_and_unknown_servables(stub: Any) -> None:
    assert fails(lambda: stub.Predict(predict_pb2.PredictRequest())) == (INVALID, "Missing ModelSpec")
    assert fails(lambda: stub.Predict(request(model=""))) == (INVALID, "ModelSpec has no name specified.")
    code, message = fails(lambda: stub.Predict(request(model="q")))
    assert (code.name, message) == ("NOT_FOUND", "Servable not found for request: Latest(q)")
    wrong = pair()
    wrong.model_spec.version.value = 77
    code, message = fails(lambda: stub.Predict(wrong))
    assert (code.name, message) == ("NOT_FOUND", "Servable not found for request: Specific(toy, 77)")
    wrong.model_spec.version_label = "stable"
    assert fails(lambda: stub.Predict(wrong)) == (INVALID, "Unrecognized servable version label: stable")
    code, message = fails(lambda: stub.Predict(request("zz")))
    assert (code.name, message) == ("FAILED_PRECONDITION", 'Serving signature key "zz" not found.')


def test_missing_and_extra_inputs(stub: Any) -> None:
    assert fails(lambda: stub.Predict(request("scalar"))) == (
        INVALID,
        "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
    )
    code, message = fails(lambda: stub.Predict(pair(z=X)))
    assert code == INVALID
    assert "3!=2" in message
    assert "Sent extra: {z}" in message
    code, message = fails(lambda: stub.Predict(request("scalar", z=X)))
    assert code == INVALID
    assert "x" in message


def test_inputs_with_a_default_may_be_left_out(stub: Any) -> None:
    assert list(stub.Predict(request("single")).outputs["y"].float_val) == [2.0, 6.0]
    assert list(stub.Predict(request(x=X)).outputs["twice"].int64_val) == [8]
    without_x = pair()
    del without_x.inputs["x"]
    assert fails(lambda: stub.Predict(without_x)) == (
        INVALID,
        "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value provided. "
        "Inputs expected to be in the request {history/length}, or default input alias set: history/length",
    )
    code, message = fails(lambda: stub.Predict(pair(z=X)))
    assert (code, "3!=2" in message) == (INVALID, True)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"x": X.astype(np.float64)}, 'to be float but double is provided (input "x")'),
        ({"history/length": LENGTH.astype(np.int32)}, "to be int64 but int32 is provided"),
        ({"x": np.array(["a"])}, "to be float but string is provided"),
        ({"history/length": np.array([-1])}, "history/length must not be negative"),
        ({"history/length": np.int64(1)}, "Invalid reduction dimension"),
    ],
)
def test_wrong_values(stub: Any, inputs: dict[str, Any], text: str) -> None:
    code, message = fails(lambda: stub.Predict(pair(**inputs)))
    assert code == INVALID
    assert text in message
    assert stub.Predict(pair()).outputs["y"].float_val


def test_broken_tensor(stub: Any) -> None:
    broken = pair()
    broken.inputs["x"].tensor_content = b"123"
    code, message = fails(lambda: stub.Predict(broken))
    assert code == INVALID
    assert message.startswith("tensor parsing error: x")


def test_few_bytes_cannot_ask_for_much_memory(stub: Any) -> None:
    huge = pair()
    huge.inputs["x"].Clear()
    huge.inputs["x"].dtype = tf.float32.as_datatype_enum
    for size in (30_000_000, 2):
        huge.inputs["x"].tensor_shape.dim.add(size=size)
    huge.inputs["x"].float_val.append(1.0)
    code, message = fails(lambda: stub.Predict(huge))
    assert code == INVALID
    assert message.startswith("tensor parsing error: x: shape [30000000, 2] needs 240000000 bytes")
    assert "limited to 16000000 bytes" in message


def test_long_messages_are_refused(stub: Any) -> None:
    long = request("single", x=np.zeros(MAX_REQUEST_BYTES // 4, np.float32))
    code, message = fails(lambda: stub.Predict(long))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(MAX_REQUEST_BYTES) in message
    assert stub.Predict(request("single", x=np.zeros(MAX_REQUEST_BYTES // 4 - 100, np.float32))).outputs


def test_the_initialising_signature_is_refused(stub: Any) -> None:
    code, message = fails(lambda: stub.Predict(request("__saved_model_init_op")))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert message == '"__saved_model_init_op" initialises the model; it cannot be asked to predict.'


def test_bytes_that_are_no_message(channel: grpc.Channel, stub: Any) -> None:
    raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict", None, None)
    for body in (b"", b"\xff\xff\xff", np.random.default_rng(0).bytes(1000)):
        with pytest.raises(grpc.RpcError):
            raw(body, timeout=60)
    assert stub.Predict(pair()).outputs["y"].float_val


def test_long_messages_are_cut(stub: Any) -> None:
    _, message = fails(lambda: stub.Predict(request("z" * 5000)))
    assert message == 'Serving signature key "' + "z" * (1024 - len('Serving signature key "')) + "...TRUNCATED"


def test_long_messages_are_cut_by_bytes(stub: Any) -> None:
    _, message = fails(lambda: stub.Predict(request("\u00e9" * 5000)))
    assert len(message.encode()) <= 1024 + len("...TRUNCATED")
    assert message.startswith('Serving signature key "\u00e9')
    assert message.endswith("\u00e9...TRUNCATED")


def test_deadline_stops_the_work(stub: Any) -> None:
    code, _ = fails(lambda: stub.Predict(request("slow", seconds=np.float64(60)), timeout=0.3))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert stub.Predict(pair()).outputs["y"].float_val


def test_port_in_use(server: ModelServer) -> None:
    model = single_model("toy", "/nowhere")
    with pytest.raises(AddressInUseError, match=rf"127.0.0.1:{server.grpc_port} for gRPC: Address already in use"):
        ModelServer(ServerOptions((model,), grpc_port=server.grpc_port))
    with pytest.raises(AddressInUseError, match=rf"127.0.0.1:{server.grpc_port} for REST: Address already in use"):
        ModelServer(ServerOptions((model,), grpc_port=None, rest_port=server.grpc_port))
