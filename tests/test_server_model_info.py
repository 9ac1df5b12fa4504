"""Status, metadata and reload over gRPC: answers, codes and messages held against TF Serving's."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.publisher import publish
from serving.server.model_info import metadata_json, status_json
from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions, single_model
from tests.grpc_support import INVALID, fails
from tests.server_models import exporter


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("toy")
    publish(model_dir, exporter(2.0))
    return model_dir


@pytest.fixture(scope="module")
def channel(model_dir: Path) -> Iterator[grpc.Channel]:
    server = ModelServer(ServerOptions((single_model("toy", str(model_dir)),), grpc_port=0, rest_port=None))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel
    server.stop()


def test_metadata(channel: grpc.Channel) -> None:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    ask = get_model_metadata_pb2.GetModelMetadataRequest()
    assert fails(lambda: stub.GetModelMetadata(ask)) == (INVALID, "Missing ModelSpec")
    ask.model_spec.name = "toy"
    nothing = (INVALID, "GetModelMetadataRequest must specify at least one metadata_field")
    assert fails(lambda: stub.GetModelMetadata(ask)) == nothing
    ask.metadata_field[:] = ["signature_def", "other"]
    assert fails(lambda: stub.GetModelMetadata(ask)) == (INVALID, "Metadata field %s is not supportedother")
    ask.metadata_field[:] = ["signature_def"]
    response = stub.GetModelMetadata(ask)
    assert response.model_spec.version.value == 1
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["serving_default"].inputs["x"].dtype == tf.float32.as_datatype_enum


def test_status(channel: grpc.Channel) -> None:
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    ask = get_model_status_pb2.GetModelStatusRequest()
    assert fails(lambda: stub.GetModelStatus(ask)) == (INVALID, "Missing ModelSpec")
    ask.model_spec.name = "toy"
    (one,) = stub.GetModelStatus(ask).model_version_status
    assert (one.version, one.state, one.status.error_code) == (1, one.AVAILABLE, 0)
    ask.model_spec.version_label = "ignored"
    assert len(stub.GetModelStatus(ask).model_version_status) == 1
    ask.model_spec.version.value = 5
    code, message = fails(lambda: stub.GetModelStatus(ask))
    assert (code.name, message) == ("NOT_FOUND", "Could not find version 5 of model toy")
    ask.model_spec.Clear()
    ask.model_spec.SetInParent()
    code, message = fails(lambda: stub.GetModelStatus(ask))
    assert (code.name, message) == ("NOT_FOUND", "Could not find any versions of model ")


def test_reload_takes_a_list_of_models(channel: grpc.Channel) -> None:
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    refused = (
        INVALID,
        "ServerModelConfig type not supported by HandleReloadConfigRequest. "
        "Only ModelConfigList is currently supported",
    )
    ask = model_management_pb2.ReloadConfigRequest()
    assert fails(lambda: stub.HandleReloadConfigRequest(ask)) == refused
    ask.config.custom_model_config.SetInParent()
    assert fails(lambda: stub.HandleReloadConfigRequest(ask)) == refused
    ask.config.model_config_list.config.add(name="toy", base_path="models/toy", model_platform="tensorflow")
    assert fails(lambda: stub.HandleReloadConfigRequest(ask))[0] == INVALID


def test_reload_answers_with_a_status(model_dir: Path, channel: grpc.Channel) -> None:
    ask = model_management_pb2.ReloadConfigRequest()
    for name in ("toy", "again"):
        ask.config.model_config_list.config.add(name=name, base_path=str(model_dir), model_platform="tensorflow")
    response = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(ask)
    assert (response.status.error_code, response.status.error_message) == (0, "")
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "again"
    (one,) = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status).model_version_status
    assert one.state == one.AVAILABLE


def test_metadata_as_json_spells_out_defaults_and_escapes_tags() -> None:
    signatures = get_model_metadata_pb2.SignatureDefMap()
    signature = signatures.signature_def["<a>"]
    signature.inputs["x"].dtype = tf.int64.as_datatype_enum
    signature.inputs["x"].tensor_shape.unknown_rank = True
    signature.defaults["x"].CopyFrom(tf.make_tensor_proto([5, 6], tf.int64))
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(signatures)
    text = metadata_json(response)
    assert '"\\u003ca\\u003e": {' in text
    printed = json.loads(text)["metadata"]["signature_def"]["signature_def"]["<a>"]
    assert printed["inputs"]["x"] == {
        "dtype": "DT_INT64",
        "tensor_shape": {"dim": [], "unknown_rank": True},
        "name": "",
    }
    default = printed["defaults"]["x"]
    assert default["dtype"] == "DT_INT64"
    assert default["tensor_shape"] == {"dim": [{"size": "2", "name": ""}], "unknown_rank": False}
    assert default["tensor_content"] == "BQAAAAAAAAAGAAAAAAAAAA=="
    assert (default["version_number"], default["float_val"], default["variant_val"]) == (0, [], [])


def test_status_as_json_escapes_tags() -> None:
    response = get_model_status_pb2.GetModelStatusResponse()
    one = response.model_version_status.add(version=2, state=get_model_status_pb2.ModelVersionStatus.END)
    one.status.error_code = 3
    one.status.error_message = "<b>"
    assert status_json(response) == (
        '{\n "model_version_status": [\n  {\n   "version": "2",\n   "state": "END",\n   "status": {\n'
        '    "error_code": "INVALID_ARGUMENT",\n    "error_message": "\\u003cb\\u003e"\n   }\n  }\n ]\n}\n'
    )
