"""Prometheus metrics: names, labels and buckets of TF Serving, and what is counted when."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.publisher import publish
from serving.server.metrics import Counter, Sampler
from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions, single_model
from serving.server.text_proto import TextProtoError
from tests.server_models import export, exporter, warmup_record
from tests.test_server_grpc import pair

PATH = "/monitoring/prometheus/metrics"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def monitoring(folder: Path, text: str) -> str:
    file = folder / "monitoring.config"
    file.write_text(text)
    return str(file)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("metered")
    publish(folder, exporter(2.0, warmup_record([[1.0, 2.0]], [3])))
    return folder


@pytest.fixture(scope="module")
def server(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    file = monitoring(tmp_path_factory.mktemp("config"), "prometheus_config { enable: true }")
    models = (single_model("metered", str(model_dir)),)
    server = ModelServer(ServerOptions(models, grpc_port=0, rest_port=0, monitoring_config_file=file))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def stub(server: ModelServer) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def page(server: ModelServer) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{server.rest_port}{PATH}")


def samples(text: str) -> Samples:
    """Every sample of a page, under the very name it is written with."""
    found = re.findall(r"^([^#{]+)\{(.*)\} (\S+)$", text, re.MULTILINE)
    return {(name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels))): float(value) for name, labels, value in found}


def named(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f":tensorflow:{name}", frozenset(labels.items())


def added(before: Samples, after: Samples, key: tuple[str, frozenset[tuple[str, str]]]) -> float:
    return after.get(key, 0.0) - before.get(key, 0.0)


def test_a_counter_line_by_line() -> None:
    counter = Counter("/tensorflow/serving/x-y", "name", "status")
    counter.increment("a", "OK")
    counter.increment("a", "OK", by=2)
    counter.increment('q"\\\n', "FAILED")
    assert counter.lines() == [
        ':tensorflow:serving:x:y{name="a",status="OK"} 3',
        ':tensorflow:serving:x:y{name="q\\"\\\\\\n",status="FAILED"} 1',
    ]


def test_a_histogram_line_by_line() -> None:
    # Limits 10, 18, 32.4; a value on a limit belongs above it.
    sampler = Sampler("/t", "m", scale=10, growth=1.8, limits=3)
    for value in (3, 10, 20, 40, 32):
        sampler.add(value, "a")
    assert sampler.lines() == [
        ':t_bucket{m="a",le="10"} 1',
        ':t_bucket{m="a",le="18"} 2',
        ':t_bucket{m="a",le="32.4"} 4',
        ':t_bucket{m="a",le="+Inf"} 5',
        ':t_sum{m="a"} 105.0',
        ':t_count{m="a"} 5',
    ]


def test_label_sets_are_bounded() -> None:
    counter = Counter("/t", "name")
    for number in range(10_005):
        counter.increment(str(number))
    counter.increment("3")
    assert counter.value("3") == 2
    assert counter.value("10004") == 0
    assert len(counter.lines()) == 10_000


def test_grpc_requests_are_counted(server: ModelServer, stub: Any) -> None:
    before = samples(page(server).text)
    for _ in range(3):
        request = pair()
        request.model_spec.name = "metered"
        stub.Predict(request)
    request.model_spec.signature_name = "none such"
    with pytest.raises(grpc.RpcError):
        stub.Predict(request)
    after = samples(page(server).text)
    assert added(before, after, named("serving:request_count", model_name="metered", status="OK")) == 3
    assert added(before, after, named("serving:request_count", model_name="metered", status="FAILED_PRECONDITION")) == 1
    grpc_labels = {"model_name": "metered", "API": "Predict", "entrypoint": "GRPC"}
    assert added(before, after, named("serving:request_latency_count", **grpc_labels)) == 3
    assert added(before, after, named("serving:request_latency_bucket", **grpc_labels, le="+Inf")) == 3
    runtime = {"model_name": "metered", "API": "Predict", "runtime": "TF1"}
    assert added(before, after, named("serving:runtime_latency_count", **runtime)) == 3
    # The graph's time is part of the request's, and neither is nothing.
    request_us = added(before, after, named("serving:request_latency_sum", **grpc_labels))
    assert 0 < added(before, after, named("serving:runtime_latency_sum", **runtime)) < request_us


def test_rest_requests_are_counted(server: ModelServer) -> None:
    before = samples(page(server).text)
    url = f"http://127.0.0.1:{server.rest_port}/v1/models/metered"
    good = {"signature_name": "single", "instances": [1.0, 2.0]}
    assert httpx.post(f"{url}:predict", json=good).status_code == 200
    assert httpx.post(f"{url}:predict", content="{").status_code == 400
    assert httpx.get(f"{url}/metadata").status_code == 200
    after = samples(page(server).text)
    assert added(before, after, named("serving:request_count", model_name="metered", status="OK")) == 1
    assert added(before, after, named("serving:request_count", model_name="metered", status="INVALID_ARGUMENT")) == 1
    rest = {"model_name": "metered", "API": "predict", "entrypoint": "REST"}
    assert added(before, after, named("serving:request_latency_count", **rest)) == 1
    runtime = {"model_name": "metered", "API": "Predict", "runtime": "TF1"}
    assert added(before, after, named("serving:runtime_latency_count", **runtime)) == 1


def test_any_name_can_be_asked_for(server: ModelServer) -> None:
    base = f"http://127.0.0.1:{server.rest_port}/v1/models"
    for name in ("%ff%fe", "a%22b%5C%0A", "n" * 2000):
        assert httpx.post(f"{base}/{name}:predict", json={"instances": [1.0]}).status_code == 404
    found = samples(page(server).text)
    assert found[named("serving:request_count", model_name="??", status="NOT_FOUND")] == 1
    assert found[named("serving:request_count", model_name="n" * 256, status="NOT_FOUND")] == 1
    assert 'model_name="a\\"b\\\\\\n"' in page(server).text


def test_loads_and_warm_up_are_counted(server: ModelServer, model_dir: Path) -> None:
    found = samples(page(server).text)
    path = str(model_dir / "1")
    assert found[named("cc:saved_model:load_attempt_count", model_path=path, status="success")] == 1
    assert found[named("cc:saved_model:load_latency", model_path=path)] > 0
    assert found[named("serving:model_warmup_latency_count", model_path=path, status="OK")] == 1


def test_a_failed_load_is_counted(server: ModelServer, tmp_path: Path) -> None:
    from serving.server.loader import ServableLoader
    from serving.server.serving_error import ServingError

    export(tmp_path / "1")
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(ServingError):
        ServableLoader(ServerOptions(())).load(tmp_path / "1")
    failed = named("cc:saved_model:load_attempt_count", model_path=str(tmp_path / "1"), status="fail")
    assert samples(page(server).text)[failed] == 1


def test_the_page(server: ModelServer) -> None:
    answer = page(server)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert list(text_string_to_metric_families(answer.text))
    kinds = dict(line.split()[2:] for line in answer.text.splitlines() if line.startswith("# TYPE"))
    # Metrics without a value yet have their type line, as in TF Serving.
    assert kinds[":tensorflow:serving:batching_session:queuing_latency"] == "histogram"
    assert kinds[":tensorflow:serving:request_example_counts"] == "histogram"
    assert kinds[":tensorflow:serving:request_count"] == "counter"
    assert list(kinds) == sorted(kinds)
    limits = [
        line.split('le="')[1].split('"')[0] for line in answer.text.splitlines() if 'entrypoint="GRPC",le=' in line
    ]
    # TF Serving's: 10 x 1.8^i, six digits.
    assert limits[:3] == ["10", "18", "32.4"]
    assert "708235" in limits
    assert limits[-1] == "+Inf"


def test_a_query_is_no_part_of_the_path(server: ModelServer) -> None:
    answer = httpx.get(f"http://127.0.0.1:{server.rest_port}{PATH}?x=1")
    assert answer.status_code == 400
    assert answer.text == f"Unexpected path: {PATH}?x=1. Should be {PATH}"


def test_path_of_the_configuration(tmp_path: Path) -> None:
    from serving.server.monitoring import read_metrics_path

    config = tmp_path / "c"
    config.write_text('prometheus_config { enable: true, path: "/m" }')
    assert read_metrics_path(config) == "/m"
    config.write_text('prometheus_config { path: "/m" }')
    assert read_metrics_path(config) is None
    config.write_text('prometheus_config { enable: true, path: "m" }')
    with pytest.raises(TextProtoError, match="must begin with /, got 'm'"):
        read_metrics_path(config)
    config.write_text("prometheus_config { enabled: true }")
    with pytest.raises(TextProtoError, match=r"c:1:21: .*no field named .*enabled"):
        read_metrics_path(config)
    with pytest.raises(TextProtoError, match="No such file"):
        read_metrics_path(tmp_path / "missing")
