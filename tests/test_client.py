"""The clients over both protocols, against a server process."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from serving.client import AsyncClient, Client, PredictError, Prediction, Signature, Tls
from serving.publisher import publish
from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions, single_model
from tests.server_models import ECHO_TYPES, export_waiter, exporter, served, warmup_record

INPUTS: dict[str, Any] = {"x": np.array([[1.0, 2.0]], np.float32), "history/length": np.array([3], np.int64)}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("toy")
    publish(model_dir, exporter(2.0, warmup_record([[1, 2]], [3])))
    return model_dir


@pytest.fixture(scope="module")
def addresses(model_dir: Path) -> Iterator[tuple[str, str]]:
    with served(model_dir) as (_, grpc, rest):
        yield grpc, rest


class Awaited:
    """An `AsyncClient` behind a blocking client's methods, so that one set of tests holds both to the same answers."""

    def __init__(self, **address: str) -> None:
        self._loop = asyncio.new_event_loop()

        async def make() -> AsyncClient:
            return AsyncClient(**address)  # type: ignore[arg-type]

        self._client = self._loop.run_until_complete(make())

    def predict(self, *arguments: Any, **options: Any) -> Prediction:
        return self._loop.run_until_complete(self._client.predict(*arguments, **options))

    def signatures(self, *arguments: Any) -> dict[str, Signature]:
        return self._loop.run_until_complete(self._client.signatures(*arguments))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


@pytest.fixture(scope="module", params=["grpc", "rest"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[Client, Awaited])
def client(request: pytest.FixtureRequest, protocol: str, addresses: tuple[str, str]) -> Iterator[Client]:
    with request.param(**{protocol: addresses[protocol == "rest"]}) as client:
        yield client


def test_predict(client: Client, protocol: str) -> None:
    answer = client.predict(INPUTS)
    np.testing.assert_array_equal(answer.outputs["y"], np.array([[2.0, 4.0]], np.float32))
    assert answer.outputs["y"].dtype == np.float32
    assert answer.outputs["twice"].dtype == np.int64
    assert answer.ms > 0
    assert answer.model_version == (1 if protocol == "grpc" else None)


def test_single_output_choice_of_outputs_and_version(client: Client) -> None:
    answer = client.predict({"x": np.array([], np.float32)}, "single", version=1)
    assert answer.outputs["y"].shape == (0,)
    assert list(client.predict(INPUTS, outputs=["twice"]).outputs) == ["twice"]


def test_every_type(client: Client) -> None:
    values: dict[str, Any] = {
        name: np.array([1], dtype.as_numpy_dtype) for name, dtype in ECHO_TYPES.items() if name != "text"
    }
    values["f32"] = np.array([0.1, np.inf, -np.inf, np.nan], np.float32)
    values["text"] = np.array([["ab", "c"]])
    outputs = client.predict(values, "echo").outputs
    for name, value in values.items():
        expected = np.array([[b"ab", b"c"]], dtype=object) if name == "text" else value
        assert outputs[f"{name}_out"].dtype == expected.dtype
        np.testing.assert_array_equal(outputs[f"{name}_out"], expected)


def test_bytes(client: Client) -> None:
    outputs = client.predict({"text": np.array([b"\xff\x00"], dtype=object)}, "words").outputs
    assert outputs["raw_bytes"].tolist() == [b"\xff\x00"]


def test_signatures(client: Client) -> None:
    signature = client.signatures()["serving_default"]
    assert signature.inputs["x"].shape == (-1, 2)
    assert signature.outputs["y"].data_type == 1
    assert client.signatures()["single"].inputs["x"].shape is None
    assert not [name for name in client.signatures() if name.startswith("__")]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ({"inputs": {**INPUTS, "history/length": np.array([-1])}}, "INVALID_ARGUMENT", "must not be negative"),
        ({"inputs": {"x": INPUTS["x"]}}, "INVALID_ARGUMENT", "history/length"),
        ({"inputs": INPUTS, "model": "q"}, "NOT_FOUND", "Latest(q)"),
        ({"inputs": INPUTS, "version": 9}, "NOT_FOUND", "Specific(twin, 9)"),
        ({"inputs": {"seconds": np.array(1.5)}, "signature": "slow", "timeout_s": 0.3}, "DEADLINE_EXCEEDED", ""),
    ],
)
def test_errors_carry_code_and_message(client: Client, arguments: dict[str, Any], code: str, text: str) -> None:
    with pytest.raises(PredictError) as raised:
        client.predict(**arguments)
    assert raised.value.code == code
    assert text in raised.value.message
    assert client.predict(INPUTS).outputs


def test_unknown_signature(client: Client) -> None:
    with pytest.raises(PredictError, match="zz"):
        client.predict(INPUTS, signature="zz")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([[1.0], [1.0, 2.0]], "input x: .*inhomogeneous"),
        (np.array(["2020-01-01"], "datetime64[D]"), "input x: .*datetime64.* cannot be sent"),
        (np.array([3, "a"], dtype=object), "input x: expected strings .*, got int"),
    ],
)
def test_inputs_that_cannot_be_sent_are_named(client: Client, value: Any, text: str) -> None:
    with pytest.raises(PredictError, match=text) as raised:
        client.predict({**INPUTS, "x": value})
    assert raised.value.code == "INVALID_ARGUMENT"


def test_layout_of_an_array_does_not_matter(client: Client) -> None:
    swapped = np.array([[1.0, 2.0], [3.0, 4.0]], ">f4").T
    answer = client.predict({"x": swapped, "history/length": np.array([1, 2, 3, 4], ">i8")[::2]})
    assert answer.outputs["y"].tolist() == [[2.0, 6.0], [4.0, 8.0]]
    assert answer.outputs["twice"].tolist() == [2, 6]


@pytest.mark.parametrize("kind", [Client, Awaited])
def test_nobody_listens(kind: type[Client], protocol: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options: dict[str, Any] = {protocol: address, "timeout_s": 5}
    with kind(**options) as client, pytest.raises(PredictError, match=address) as raised:
        client.predict(INPUTS)
    assert raised.value.code == "UNAVAILABLE"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_one_address_is_needed(kind: type[Client]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        kind()
    with pytest.raises(ValueError, match="exactly one"):
        kind(grpc="a:1", rest="b:2")
    with pytest.raises(ValueError, match="https://"):
        kind(rest="b:2", tls=Tls())


@contextmanager
def _http_server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Answers each connection with `answer` once the request is there."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    answer(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield "{}:{}".format(*listener.getsockname())
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize("kind", [Client, Awaited])
def test_an_answer_that_trickles_in_does_not_outlive_the_deadline(kind: type[Client]) -> None:
    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b" ")
            time.sleep(0.02)

    with _http_server(trickle) as address, kind(rest=address, timeout_s=0.3) as client:
        with pytest.raises(PredictError) as raised:
            client.signatures()
        assert raised.value.code == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b"\xff"])
def test_other_web_servers_are_told_from_model_servers(body: bytes) -> None:
    def page(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with (
        _http_server(page) as address,
        Client(rest=address) as client,
        pytest.raises(PredictError, match="is it a model server"),
    ):
        client.signatures()


def test_an_answer_that_fits_no_signature() -> None:
    spec = {"outputs": {"y": {"dtype": "DT_FLOAT", "tensor_shape": {"unknown_rank": True}}}, "inputs": {}}
    metadata = {"metadata": {"signature_def": {"signature_def": {"serving_default": spec}}}}
    body = json.dumps({**metadata, "outputs": {"other": [1.0]}}).encode()

    def both(connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % len(body) + body)

    with _http_server(both) as address, Client(rest=address) as client, pytest.raises(PredictError) as raised:
        client.predict({})
    assert raised.value.code == "DATA_LOSS"
    assert "outputs ['y'] of signature serving_default" in raised.value.message


def test_an_answer_without_metadata() -> None:
    def empty(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with (
        _http_server(empty) as address,
        Client(rest=address) as client,
        pytest.raises(PredictError, match="the metadata of model twin cannot be read"),
    ):
        client.signatures()


def test_a_model_name_stays_a_name(client: Client) -> None:
    with pytest.raises(PredictError) as raised:
        client.signatures("a?b/../c d")
    assert raised.value.code in ("NOT_FOUND", "INVALID_ARGUMENT")
    assert "a?b" in raised.value.message


def test_requests_awaited_together_run_together(tmp_path: Path, protocol: str) -> None:
    """Each of two requests goes on when the other has begun."""
    publish(tmp_path / "twin", export_waiter)
    files = [str(tmp_path / name).encode() for name in ("first", "second")]

    async def ask(**address: str) -> list[Prediction]:
        async with AsyncClient(**address) as client:  # type: ignore[arg-type]
            calls = [
                client.predict({"x": np.ones(1, np.float32), "began": began, "go": go}, "wait", timeout_s=120)
                for began, go in (files, files[::-1])
            ]
            return await asyncio.gather(*calls)

    server = ModelServer(ServerOptions((single_model("twin", str(tmp_path / "twin")),), grpc_port=0, rest_port=0))
    server.start()
    try:
        port = server.grpc_port if protocol == "grpc" else server.rest_port
        answers = asyncio.run(ask(**{protocol: f"127.0.0.1:{port}"}))
    finally:
        server.stop()
    assert [answer.outputs["y"].tolist() for answer in answers] == [[2.0], [2.0]]


def test_cancelled_request_ends(addresses: tuple[str, str], protocol: str) -> None:
    async def ask() -> None:
        address: dict[str, Any] = {protocol: addresses[protocol == "rest"]}
        async with AsyncClient(**address) as client:
            task = asyncio.create_task(client.predict({"seconds": np.array(3.0)}, "slow"))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.predict(INPUTS)).outputs

    asyncio.run(ask())
