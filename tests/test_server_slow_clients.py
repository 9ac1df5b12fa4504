"""Clients that begin a request and do not go on: they must neither keep others out nor the server from ending."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from starlette.types import Message
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from serving.publisher import publish
from serving.server.grpc_calls import CallInterceptor
from serving.server.model_server import ModelServer
from serving.server.model_store import ModelStore
from serving.server.options import ServerOptions, single_model
from serving.server.rest_app import RestApp
from serving.server.servable import Servable
from tests.grpc_support import fails
from tests.server_models import ROOT, export_waiter
from tests.waiting import until

POST = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
METHOD = "/test.Echo/Say"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """A server of no models."""
    server = ModelServer(ServerOptions((), grpc_port=0, rest_port=0, grpc_threads=1))
    server.start()
    yield server
    server.stop()


def connect(server: ModelServer) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.rest_port or 0))
    connection.settimeout(60)
    return connection


def app(transfer_s: float) -> RestApp:
    return RestApp(ModelStore((), Servable), threads=1, max_body_bytes=1000, transfer_s=transfer_s)


def scope(path: str) -> dict[str, object]:
    return {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}


def test_a_body_that_does_not_come_is_given_up() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(0.05)(scope("/v1/models/toy:predict"), receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert sent[1]["body"] == b'{\n    "error": "the request body did not come within 0.05 s"\n}'


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Message) -> None:
        await asyncio.Event().wait()

    asyncio.run(asyncio.wait_for(app(0.05)(scope("/elsewhere"), receive, send), 60))


def test_a_request_that_does_not_come_does_not_keep_the_server_from_ending(server: ModelServer) -> None:
    with connect(server) as begun, connect(server), connect(server) as half:
        begun.sendall(POST)
        half.sendall(b"GET /v1/mod")
        with connect(server) as other:
            other.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            assert other.recv(1000).startswith(b"HTTP/1.1 400 ")
        stopping = threading.Thread(target=server.stop, kwargs={"grace_s": 0.2}, daemon=True)
        stopping.start()
        stopping.join(60)
        assert not stopping.is_alive()


def test_a_web_socket_is_a_request_like_others(server: ModelServer) -> None:
    with connect(server) as connection:
        connection.sendall(
            b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Missing model name in request." in answer


def test_calls_without_a_message_do_not_keep_others_out() -> None:
    handler = grpc.unary_unary_rpc_method_handler(lambda request, _: request, bytes, bytes)
    calls = CallInterceptor(1, stalled_s=0.05)
    server = grpc.server(ThreadPoolExecutor(3), interceptors=[calls])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Say": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    never = threading.Event()

    def nothing() -> Iterator[bytes]:
        never.wait()
        yield from ()

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        silent = channel.stream_unary(METHOD, None, None).future(nothing(), wait_for_ready=True)
        # Both come over one new connection: the silent call must have the only place before the other is made.
        until(lambda: calls.running() == 1)
        say = channel.unary_unary(METHOD, None, None)
        code, _ = fails(lambda: say(b"hello"))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        until(lambda: _answers(say))
        assert silent.code() is grpc.StatusCode.CANCELLED
        never.set()
    server.stop(None)


def _answers(say: grpc.UnaryUnaryMultiCallable) -> bool:
    """Whether a call is answered and not refused; a refused one ends calls that have brought nothing for too long."""
    try:
        return bytes(say(b"hello")) == b"hello"
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
        return False


def test_a_reload_that_nobody_waits_for_leaves_its_place(server: ModelServer, tmp_path: Path) -> None:
    request = model_management_pb2.ReloadConfigRequest()
    missing = single_model("missing", str(tmp_path / "missing"))
    request.config.model_config_list.config.append(missing)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        code, _ = fails(lambda: stub.HandleReloadConfigRequest(request, timeout=0.5))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        until(lambda: not server._calls.running())


def test_an_operation_that_never_ends_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    publish(tmp_path / "model", export_waiter)
    code = f"""
import os, signal, threading, time
import numpy as np
from pathlib import Path
from serving.server.options import ServerOptions, single_model
from serving.server.run import run_until_stopped
from serving.client import Client

def ask(server):
    began = Path({str(tmp_path)!r}) / "began"
    inputs = {{"x": np.ones(1, np.float32), "began": np.array(str(began)), "go": np.array(str(began) + " never")}}
    client = Client(grpc=f"127.0.0.1:{{server.grpc_port}}", timeout_s=600)
    threading.Thread(target=lambda: client.predict(inputs, "wait"), daemon=True).start()
    while not began.exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGTERM)

models = (single_model("twin", {str(tmp_path / "model")!r}),)
run_until_stopped(ServerOptions(models, grpc_port=0), ask, patience_s=0.5)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "what still runs is not waited for" in done.stderr


def test_a_signal_after_the_end_does_not_change_the_exit_code(tmp_path: Path) -> None:
    publish(tmp_path / "model", export_waiter)
    code = f"""
import os, signal
from serving.server.options import ServerOptions, single_model
from serving.server.run import run_until_stopped

models = (single_model("twin", {str(tmp_path / "model")!r}),)
run_until_stopped(ServerOptions(models, grpc_port=0), lambda server: os.kill(os.getpid(), signal.SIGTERM))
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGINT)
print("ended")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "ended"), done.stderr
