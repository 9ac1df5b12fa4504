"""More calls than the server takes, deadlines that pass, clients that go, and the stop."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.publisher import publish
from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions, single_model
from serving.server.rest_limit import RestLimit
from tests.server_models import export_waiter
from tests.test_server_grpc import fails, request
from tests.waiting import until

LIMIT = 2
CLIENTS = 10 * LIMIT
EXHAUSTED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ModelServer]:
    publish(tmp_path / "model", export_waiter)
    model = single_model("toy", str(tmp_path / "model"))
    server = ModelServer(ServerOptions((model,), grpc_port=0, grpc_threads=LIMIT, inter_op_threads=8))
    server.start()
    yield server
    (tmp_path / "go").touch()
    server.stop()


@pytest.fixture
def channel(server: ModelServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def double(stub: Any) -> list[float]:
    return list(stub.Predict(request(x=np.array([3.0], np.float32)), timeout=60).outputs["y"].float_val)


def wait(stub: Any, go: Path, timeout: float | None = None) -> Any:
    """A call that ends when the file `go` appears."""
    files = {"began": f"{go} began".encode(), "go": str(go).encode()}
    inputs: dict[str, Any] = {name: np.array(value, object) for name, value in files.items()}
    return stub.Predict.future(request("wait", x=np.array([3.0], np.float32), **inputs), timeout=timeout)


def fill(server: ModelServer, stub: Any, go: Path) -> list[Any]:
    """As many calls as the server takes; they end when the file `go` appears."""
    calls = [wait(stub, go) for _ in range(LIMIT)]
    until(lambda: server._calls.running() == LIMIT)
    return calls


def test_calls_above_the_limit_are_refused_and_those_inside_succeed(
    server: ModelServer, channel: grpc.Channel, stub: Any, tmp_path: Path
) -> None:
    inside = fill(server, stub, tmp_path / "go")
    with ThreadPoolExecutor(CLIENTS) as pool:
        assert Counter(pool.map(lambda _: fails(lambda: double(stub)), range(100))) == {EXHAUSTED: 100}
    status = get_model_status_pb2.GetModelStatusRequest()
    assert fails(lambda: model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status)) == EXHAUSTED
    (tmp_path / "go").touch()
    assert [list(call.result().outputs["y"].float_val) for call in inside] == [[6.0]] * LIMIT
    # Afterwards as many are taken as before.
    until(lambda: server._calls.running() == 0)
    again = fill(server, stub, tmp_path / "once more")
    (tmp_path / "once more").touch()
    assert [list(call.result().outputs["y"].float_val) for call in again] == [[6.0]] * LIMIT


def test_refused_calls_are_not_read(server: ModelServer, channel: grpc.Channel, stub: Any, tmp_path: Path) -> None:
    # Kept by name: gRPC cancels a call whose future nobody holds.
    inside = fill(server, stub, tmp_path / "go")
    # No protobuf message: whoever reads it cannot answer RESOURCE_EXHAUSTED.
    raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict", None, None)
    assert fails(lambda: raw(b"\xff" * 100_000)) == EXHAUSTED
    (tmp_path / "go").touch()
    assert [list(call.result().outputs["y"].float_val) for call in inside] == [[6.0]] * LIMIT
    until(lambda: server._calls.running() == 0)
    assert fails(lambda: raw(b"\xff")) == (grpc.StatusCode.INTERNAL, "Exception deserializing request!")


def test_a_deadline_ends_the_work(server: ModelServer, stub: Any, tmp_path: Path) -> None:
    # The file never appears: only the deadline can end these calls.
    calls = [wait(stub, tmp_path / "never", timeout=3.0) for _ in range(LIMIT)]
    until((tmp_path / "never began").exists)
    for call in calls:
        assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: server._calls.running() == 0)
    assert double(stub) == [6.0]


def test_ten_times_the_capacity(stub: Any, server: ModelServer) -> None:
    """Of many impatient clients some are served, the others are told so at once, and the server keeps its size."""
    before = set(threading.enumerate())
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()
    end = time.monotonic() + 2

    def client(_: int) -> None:
        while time.monotonic() < end:
            try:
                outcome = "OK" if double(stub) == [6.0] else "wrong"
            except grpc.RpcError as error:
                found: Any = error
                outcome = f"{found.code().name}: {found.details()}"
            with lock:
                outcomes[outcome] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    assert set(outcomes) <= {"OK", "RESOURCE_EXHAUSTED: Server Threadpool Exhausted"}
    assert outcomes["OK"] >= LIMIT
    assert double(stub) == [6.0]
    assert sum(thread.name.startswith("grpc_") for thread in set(threading.enumerate()) - before) <= LIMIT + 2


def test_rest_requests_above_the_limit_are_refused() -> None:
    async def run() -> tuple[list[httpx.Response], httpx.Response, httpx.Response]:
        go, entered = asyncio.Event(), asyncio.Semaphore(0)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            entered.release()
            await go.wait()
            await PlainTextResponse("done")(scope, receive, send)

        transport = httpx.ASGITransport(RestLimit(app, LIMIT))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            inside = [asyncio.create_task(client.post("/")) for _ in range(LIMIT)]
            for _ in inside:
                await entered.acquire()
            refused = await client.post("/", content=b"x" * 1000)
            go.set()
            return [await one for one in inside], refused, await client.post("/")

    inside, refused, after = asyncio.run(run())
    assert [answer.text for answer in inside] == ["done"] * LIMIT
    assert refused.status_code == 429
    assert refused.json() == {"error": f"the server has {LIMIT} requests at hand; try again later"}
    assert after.text == "done"


def test_stop_finishes_what_runs_and_takes_no_more(server: ModelServer, stub: Any, tmp_path: Path) -> None:
    running = fill(server, stub, tmp_path / "go")
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(server.stop, 600.0)
        until(lambda: fails(lambda: double(stub))[0] == grpc.StatusCode.UNAVAILABLE)
        assert not stopping.done()
        (tmp_path / "go").touch()
        assert [list(call.result().outputs["y"].float_val) for call in running] == [[6.0]] * LIMIT
        stopping.result(timeout=60)
