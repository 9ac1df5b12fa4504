"""The examples in the clients' docstrings run against a server; the clients talk to replicas, and TLS."""

import serving  # isort: skip - sets the environment that TensorFlow reads

import asyncio
import doctest
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf

import serving.client
import serving.client_async
from serving.client import AsyncClient, Client, PredictError, Tls, TlsError
from serving.conformance.certificates import write_certificates
from serving.publisher import publish
from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions, single_model

REQUEST = {
    "history/item_id": np.array([[7, 9, 7]]),
    "history/length": np.array([3]),
    "candidate/item_id": np.array([[7, 8]]),
}
PCTR = [[2 / 3, 0.0]]


class Share(tf.Module):
    """The share of a candidate among the behaviours, under the names of a real servable."""

    @tf.function
    def score(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        length = inputs["history/length"]
        check = tf.debugging.assert_non_negative(length, message="history/length must not be negative")
        with tf.control_dependencies([check]):
            visible = tf.sequence_mask(length, tf.shape(inputs["history/item_id"])[1])
        same = tf.equal(inputs["candidate/item_id"][:, :, None], inputs["history/item_id"][:, None, :])
        found = tf.reduce_sum(tf.cast(same & visible[:, None, :], tf.float32), axis=2)
        return {"pctr": found / tf.cast(length, tf.float32)[:, None]}


def export(path: Path) -> None:
    """Writes the SavedModel."""
    model = Share()
    spec = {name: tf.TensorSpec([None] * value.ndim, tf.int64, name=name) for name, value in REQUEST.items()}
    tf.saved_model.save(model, str(path), signatures=model.score.get_concrete_function(spec))


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("share")
    publish(model_dir, export)
    return model_dir


@pytest.fixture(scope="module")
def server(model_dir: Path) -> Iterator[ModelServer]:
    server = ModelServer(ServerOptions((single_model("twin", str(model_dir)),), grpc_port=0, rest_port=0))
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("module", [serving.client, serving.client_async])
def test_examples(module: ModuleType, server: ModelServer) -> None:
    ports = {"127.0.0.1:8500": f"127.0.0.1:{server.grpc_port}", "127.0.0.1:8501": f"127.0.0.1:{server.rest_port}"}
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder().find(module, globs={}):
        for example in test.examples:
            for written, real in ports.items():
                example.source = example.source.replace(written, real)
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
    assert runner.tries > 0


def test_replicas_are_asked_in_turn(server: ModelServer, tmp_path: Path) -> None:
    publish(tmp_path, export, version=2)
    other = ModelServer(ServerOptions((single_model("twin", str(tmp_path)),), grpc_port=0))
    other.start()
    seen: set[int | None] = set()
    with Client(grpc=f"ipv4:127.0.0.1:{server.grpc_port},127.0.0.1:{other.grpc_port}") as client:
        end = time.monotonic() + 60
        while seen != {1, 2} and time.monotonic() < end:
            seen.add(client.predict(REQUEST).model_version)
        other.stop()
        assert seen == {1, 2}
        assert {client.predict(REQUEST).model_version for _ in range(4)} == {1}


# --- TLS ---


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    write_certificates(folder)
    return folder


@contextmanager
def tls_server(model_dir: Path, certificates: Path, client_verify: bool) -> Iterator[int | None]:
    """Runs a server with TLS; gives its port."""
    file = certificates / f"ssl_{client_verify}.config"
    text = (certificates / "ssl.config").read_text()
    file.write_text(text.replace("client_verify: true", f"client_verify: {str(client_verify).lower()}"))
    models = (single_model("twin", str(model_dir)),)
    server = ModelServer(ServerOptions(models, grpc_port=0, ssl_config_file=str(file)))
    server.start()
    yield server.grpc_port
    server.stop()


def ask(address: str, tls: Tls | None) -> list[list[float]]:
    with Client(grpc=address, tls=tls, timeout_s=30) as client:
        return client.predict(REQUEST).outputs["pctr"].tolist()


def ask_async(address: str, tls: Tls | None) -> list[list[float]]:
    async def run() -> list[list[float]]:
        async with AsyncClient(grpc=address, tls=tls, timeout_s=30) as client:
            return (await client.predict(REQUEST)).outputs["pctr"].tolist()

    return asyncio.run(run())


Ask = Callable[[str, Tls | None], list[list[float]]]


@pytest.mark.parametrize("ask", [ask, ask_async])
def test_tls(model_dir: Path, certificates: Path, ask: Ask) -> None:
    ca = certificates / "ca.pem"
    with tls_server(model_dir, certificates, client_verify=False) as port:
        np.testing.assert_allclose(ask(f"localhost:{port}", Tls(ca=ca)), PCTR, rtol=1e-6)
        named = Tls(ca=ca, server_name="localhost")
        np.testing.assert_allclose(ask(f"127.0.0.1:{port}", named), PCTR, rtol=1e-6)
        for tls in (None, Tls(), Tls(ca=ca, server_name="elsewhere")):
            with pytest.raises(PredictError) as raised:
                ask(f"localhost:{port}", tls)
            assert raised.value.code == "UNAVAILABLE"


@pytest.mark.parametrize("ask", [ask, ask_async])
def test_mutual_tls(model_dir: Path, certificates: Path, ask: Ask) -> None:
    ca = certificates / "ca.pem"
    with tls_server(model_dir, certificates, client_verify=True) as port:
        known = Tls(ca=ca, cert=certificates / "client.pem", key=certificates / "client.key")
        np.testing.assert_allclose(ask(f"localhost:{port}", known), PCTR, rtol=1e-6)
        with pytest.raises(PredictError) as raised:
            ask(f"localhost:{port}", Tls(ca=ca))
        assert raised.value.code == "UNAVAILABLE"


def test_tls_files_are_checked(certificates: Path, tmp_path: Path) -> None:
    with pytest.raises(TlsError, match=r"none\.pem: No such file"):
        Client(grpc="a:1", tls=Tls(ca=tmp_path / "none.pem"))
    (tmp_path / "ca.pem").write_bytes(b"\x30\x82")
    with pytest.raises(TlsError, match=r"ca\.pem is no PEM"):
        Client(grpc="a:1", tls=Tls(ca=tmp_path / "ca.pem"))
    with pytest.raises(TlsError, match="both a client certificate and its key"):
        Client(grpc="a:1", tls=Tls(cert=certificates / "client.pem"))
