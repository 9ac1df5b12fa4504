"""TLS, mutual TLS and health checks of the gRPC port."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.conformance.certificates import Authority, Identity, ssl_config
from serving.publisher import publish
from serving.server.model_server import ModelServer, TlsError
from serving.server.options import ServerOptions, single_model
from serving.server.text_proto import TextProtoError
from serving.server.tls import read_server_credentials
from tests.server_models import exporter
from tests.test_server_grpc import fails, pair


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    publish(folder, exporter(2.0))
    return folder


def write_config(folder: Path, server: Identity, authority: str = "", verify: bool = False) -> Path:
    file = folder / "ssl.config"
    file.write_text(ssl_config(server, authority, verify))
    return file


@contextmanager
def running(model_dir: Path, config: Path | None = None, health: bool = False) -> Iterator[ModelServer]:
    options = ServerOptions(
        (single_model("toy", str(model_dir)),),
        grpc_port=0,
        ssl_config_file=str(config) if config else None,
        enable_grpc_health=health,
    )
    server = ModelServer(options)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def predict(channel: grpc.Channel) -> list[float]:
    response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(pair(), timeout=60)
    return list(response.outputs["y"].float_val)


def trusting(authority: str, client: Identity | None = None) -> grpc.ChannelCredentials:
    if client is None:
        return grpc.ssl_channel_credentials(authority.encode())
    return grpc.ssl_channel_credentials(authority.encode(), client.key.encode(), client.certificate.encode())


def test_tls(model_dir: Path, authority: Authority, tmp_path: Path) -> None:
    with running(model_dir, write_config(tmp_path, authority.issue())) as server:
        address = f"127.0.0.1:{server.grpc_port}"
        with grpc.secure_channel(address, trusting(authority.certificate)) as channel:
            assert predict(channel) == [2.0, 4.0]
        with grpc.insecure_channel(address) as channel:
            assert fails(lambda: predict(channel))[0] == grpc.StatusCode.UNAVAILABLE
        with grpc.secure_channel(address, trusting(Authority().certificate)) as channel:
            assert fails(lambda: predict(channel))[0] == grpc.StatusCode.UNAVAILABLE


def test_mutual_tls(model_dir: Path, authority: Authority, tmp_path: Path) -> None:
    with running(model_dir, write_config(tmp_path, authority.issue(), authority.certificate, verify=True)) as server:
        address = f"127.0.0.1:{server.grpc_port}"
        with grpc.secure_channel(address, trusting(authority.certificate, authority.issue())) as channel:
            assert predict(channel) == [2.0, 4.0]
        strangers = (None, Authority().issue())
        for stranger in strangers:
            with grpc.secure_channel(address, trusting(authority.certificate, stranger)) as channel:
                assert fails(lambda channel=channel: predict(channel))[0] == grpc.StatusCode.UNAVAILABLE  # type: ignore[misc]


def test_wrong_configurations(model_dir: Path, authority: Authority, tmp_path: Path) -> None:
    mine, other = authority.issue(), authority.issue()
    with pytest.raises(TextProtoError, match="client_verify needs custom_ca"):
        read_server_credentials(write_config(tmp_path, mine, verify=True))
    with pytest.raises(TextProtoError, match="server_key is missing; expected the text of a PEM file"):
        read_server_credentials(write_config(tmp_path, Identity("", mine.certificate)))
    with pytest.raises(TextProtoError, match="server_cert is not PEM"):
        read_server_credentials(write_config(tmp_path, Identity(mine.key, "/etc/ssl/server.crt")))
    file = write_config(tmp_path, Identity(mine.key, other.certificate))
    model = single_model("toy", str(model_dir))
    with pytest.raises(TlsError, match="the key must be that of the certificate"):
        ModelServer(ServerOptions((model,), grpc_port=0, ssl_config_file=str(file)))


def test_health(model_dir: Path) -> None:
    with running(model_dir, health=True) as server, grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        serving_now = health_pb2.HealthCheckResponse.SERVING
        assert stub.Check(health_pb2.HealthCheckRequest()).status == serving_now
        assert fails(lambda: stub.Check(health_pb2.HealthCheckRequest(service="x")))[0] == grpc.StatusCode.NOT_FOUND
        seen = stub.Watch(health_pb2.HealthCheckRequest())
        assert next(seen).status == serving_now
        stopping = threading.Thread(target=server.stop, kwargs={"grace_s": 600.0})
        stopping.start()
        # The watcher hears of it, and does not keep the server from stopping.
        assert next(seen).status == health_pb2.HealthCheckResponse.NOT_SERVING
        stopping.join(60)
        assert not stopping.is_alive()


def test_no_health_unless_asked_for(model_dir: Path) -> None:
    with running(model_dir) as server, grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        code, _ = fails(lambda: stub.Check(health_pb2.HealthCheckRequest()))
        assert code == grpc.StatusCode.UNIMPLEMENTED
