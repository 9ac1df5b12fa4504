"""Prometheus metrics on the REST port."""

import re
import shutil
from pathlib import Path

import numpy as np

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.graph_models import write_tiny
from serving.conformance.models import METRICS_PATH, attempts_at_a_broken_version, publish_version
from serving.conformance.target import Target
from serving.conformance.versions import eventually

METRICS = Section.METRICS
SERVING = ":tensorflow:serving:"
LOADS = ":tensorflow:cc:saved_model:load_attempt_count"
SINGLE = {"signature_name": "single", "inputs": 1.0}


def samples(target: Target) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of the metrics page: name and labels to value."""
    answer = target.get(METRICS_PATH)
    checks.equal("status", answer.status, 200, answer.sent)
    found = {}
    for line in answer.body.decode().splitlines():
        match = re.fullmatch(r"([^\s{#]+)(?:\{(.*)\})?\s+(\S+)", line)
        if match is not None:
            labels = frozenset(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            found[match[1], labels] = float(match[3])
    return found


def total(target: Target, name: str, **labels: str) -> float:
    """The sum of the samples with this name that have these labels."""
    wanted = set(labels.items())
    return sum(value for (found, have), value in samples(target).items() if found == name and wanted <= have)


def names(target: Target) -> set[str]:
    """All names of samples."""
    return {name for name, _ in samples(target)}


@case(METRICS)
def page(target: Target) -> None:
    """The path of the monitoring config answers text/plain in the Prometheus format."""
    answer = target.get(METRICS_PATH)
    checks.equal("status", answer.status, 200, answer.sent)
    kind = answer.headers.get("content-type", "")
    checks.holds("Content-Type: text/plain", kind.startswith("text/plain"), kind, answer.sent)
    checks.holds("# TYPE lines", b"# TYPE " in answer.body, answer.shown(), answer.sent)


@case(METRICS, on="plain")
def no_page(target: Target) -> None:
    """Without a monitoring config the path is an unknown one: 404."""
    answer = target.get(METRICS_PATH)
    checks.equal("status", answer.status, 404, answer.sent)


@case(METRICS)
def request_count(target: Target) -> None:
    """:tensorflow:serving:request_count counts the requests of a model by status."""
    name = f"{SERVING}request_count"
    before = total(target, name, model_name="toy", status="OK")
    checks.rest_ok(target.post("/v1/models/toy:predict", SINGLE))
    checks.equal("growth by a REST request", total(target, name, model_name="toy", status="OK") - before, 1.0)
    checks.rpc_ok(target.predict({"x": np.ones([1], np.float32)}, signature="single"))
    checks.equal("growth by a gRPC request", total(target, name, model_name="toy", status="OK") - before, 2.0)


@case(METRICS, rows=[("REST",), ("GRPC",)])
def request_latency(target: Target, entrypoint: str) -> None:
    """:tensorflow:serving:request_latency is a histogram in microseconds by model, API and entrypoint {0}."""
    name = f"{SERVING}request_latency"
    labels = {"model_name": "toy", "entrypoint": entrypoint}
    before = total(target, f"{name}_count", **labels), total(target, f"{name}_sum", **labels)
    if entrypoint == "REST":
        checks.rest_ok(target.post("/v1/models/toy:predict", {"signature_name": "slow", "inputs": 0.2}))
    else:
        checks.rpc_ok(target.predict({"seconds": np.float64(0.2)}, signature="slow"))
    checks.equal("growth of _count", total(target, f"{name}_count", **labels) - before[0], 1.0)
    grown = total(target, f"{name}_sum", **labels) - before[1]
    checks.holds("growth of _sum by 200,000 µs or somewhat more", 150_000 <= grown <= 5_000_000, grown)
    buckets = [
        dict(have) for found, have in samples(target) if found == f"{name}_bucket" and set(labels.items()) <= have
    ]
    checks.holds("buckets with le and API", all({"le", "API"} <= set(one) for one in buckets), buckets[:1])
    checks.holds("a bucket +Inf", any(one["le"] == "+Inf" for one in buckets), buckets[-1:])


@case(METRICS)
def runtime_latency(target: Target) -> None:
    """:tensorflow:serving:runtime_latency has the labels model_name, API and runtime."""
    checks.rpc_ok(target.predict({"x": np.ones([1], np.float32)}, signature="single"))
    counted = total(target, f"{SERVING}runtime_latency_count", model_name="toy", runtime="TF1")
    checks.holds("a count above 0", counted > 0, counted)


@case(METRICS)
def example_counts(target: Target) -> None:
    """:tensorflow:serving:request_example_counts counts the examples of classify and regress requests."""
    body = {"signature_name": "regress", "examples": [{"x": 0.5}, {"x": 0.25}, {"x": 0.75}]}
    name = f"{SERVING}request_example_counts"
    before = total(target, f"{name}_sum")
    checks.rest_ok(target.post("/v1/models/toy:regress", body))
    checks.equal("growth of _sum", total(target, f"{name}_sum") - before, 3.0)


@case(METRICS)
def batching_metrics(target: Target) -> None:
    """Batched models show in :tensorflow:serving:batching_session:*."""
    checks.rpc_ok(target.predict({"x": np.ones([2, 2], np.float32)}, "batched"))
    found = sorted(name for name in names(target) if name.startswith(f"{SERVING}batching_session:"))
    checks.holds("names that begin with :tensorflow:serving:batching_session:", found != [], sorted(names(target)))


@case(METRICS)
def warm_up_latency(target: Target) -> None:
    """:tensorflow:serving:model_warmup_latency shows the warmed-up model."""
    counted = total(target, f"{SERVING}model_warmup_latency_count")
    checks.holds("a count above 0", counted > 0, counted)


@case(METRICS)
def load_attempts(target: Target) -> None:
    """:tensorflow:cc:saved_model:load_attempt_count counts loads by model_path and status."""
    found = [dict(have) for name, have in samples(target) if name == LOADS]
    paths = [one.get("model_path", "") for one in found if one.get("status") == "success"]
    checks.holds("a successful load of toy/1", any(path.rstrip("/").endswith("toy/1") for path in paths), found[:3])


@case(METRICS)
def load_retries(target: Target) -> None:
    """A version that does not load is tried 1 + --max_num_load_retries times, then given up."""

    def build(path: Path) -> None:
        write_tiny(path, 2.0)
        shutil.rmtree(path / "variables")

    path = publish_version(target.files, "retried", "2", build)
    eventually(target, "version 2 END", lambda: target.states("retried").get(2) == "END", "retried")
    failed = [
        value
        for (name, have), value in samples(target).items()
        if name == LOADS and dict(have)["status"] != "success" and dict(have)["model_path"] == str(path)
    ]
    checks.equal("attempts that failed", failed, [float(attempts_at_a_broken_version())])


@case(METRICS, on="secured")
def default_path(target: Target) -> None:
    """A monitoring config without a path means /monitoring/prometheus/metrics."""
    answer = target.get("/monitoring/prometheus/metrics")
    checks.equal("status", answer.status, 200, answer.sent)


@case(METRICS)
def characters_of_names(target: Target) -> None:
    """Names have no characters but letters, digits, underscores and colons."""
    bad = sorted(name for name in names(target) if re.fullmatch(r"[A-Za-z0-9_:]+", name) is None)
    checks.equal("other names", bad, [])
