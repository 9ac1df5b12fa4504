"""Alerts and dashboard: they name what the server exports, which it does when started with the shipped arguments."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving.client import Client
from serving.publisher import publish
from serving.serve import free_port
from serving.server import metrics
from tests.deploy_files import ALERTS, COMPOSE, CONTAINER, DASHBOARD, DEPLOY, DOCS, read
from tests.server_models import ROOT, exporter, warmup_record

# Prometheus' own, the kubelet's and kube-state-metrics'.
OTHER_METRICS = {
    "up",
    "container_memory_working_set_bytes",
    "container_cpu_usage_seconds_total",
    "kube_pod_container_resource_limits",
}


# --- metrics ---


def names(expression: str) -> set[str]:
    """The metrics in a PromQL expression: what is followed by neither ( nor stands in braces, quotes or by/on lists."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", " ", bare)
    bare = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", " ", bare)
    words = re.findall(r"(?<![\w:])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])", bare)
    return (
        set(words) - {"unless", "offset", "and", "or", "bool"} - {word for word in words if re.fullmatch("m|h", word)}
    )


def test_names() -> None:
    assert names('sum by (le) (rate(:a:b{x="y z"}[5m])) / up > 0.9 unless on (p) (c_d offset 26h)') == {
        ":a:b",
        "up",
        "c_d",
    }


EXPRESSIONS = [rule["expr"] for rule in ALERTS] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
]
EXPORTED = [metric for metric in vars(metrics).values() if isinstance(metric, metrics.Metric)]


def base(name: str) -> str:
    return re.sub("_(bucket|sum|count)$", "", name) if name in SAMPLES else name


SAMPLES = {
    metric.name + suffix
    for metric in EXPORTED
    if isinstance(metric, metrics.Sampler)
    for suffix in ("_bucket", "_sum", "_count")
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_name_documented_metrics(expression: str) -> None:
    documented = set(re.findall(r"^\| `(:[\w:]+)`", DOCS, re.MULTILINE))
    counters = {metric.name for metric in EXPORTED if isinstance(metric, metrics.Counter)}
    used = names(expression) - OTHER_METRICS
    assert used or names(expression)
    assert used <= counters | SAMPLES
    assert {base(name) for name in used} <= documented
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_expressions_name_real_labels() -> None:
    labels = {label for metric in EXPORTED for label in metric._labels} | {"le", "instance", "job"}
    labels |= {"namespace", "pod", "container", "resource"}
    for expression in EXPRESSIONS:
        grouped = [name for found in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for name in found.split(", ")]
        matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
        assert {*grouped, *matched} <= labels


def test_every_documented_metric_is_shown() -> None:
    documented = set(re.findall(r"^\| `(:[\w:]+)`", DOCS, re.MULTILINE))
    assert documented == {base(name) for expression in EXPRESSIONS for name in names(expression) - OTHER_METRICS}


def test_alerts() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS) >= 8
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "0m"))
    jobs = {job for rule in ALERTS for job in re.findall(r'job="([^"]*)"', rule["expr"])}
    scraped = read("prometheus/prometheus.yaml")
    assert jobs == {job["job_name"] for job in scraped["scrape_configs"]}
    assert all((DEPLOY / "prometheus" / name).is_file() for name in scraped["rule_files"])
    assert "p99 (250 ms)" in DOCS
    assert "(26 hours)" in DOCS


def test_dashboard() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in ("timeseries", "stat")
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= variables
        at = panel["gridPos"]
        covered = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not covered & cells
        cells |= covered


# --- the embedded server started with the shipped arguments ---


@contextmanager
def started(folder: Path, ports: tuple[int, int]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs the embedded server with compose's arguments and batching, on other ports and paths."""
    models = (DEPLOY / "models.config").read_text().replace("/models/twin", str(folder / "twin"))
    (folder / "models.config").write_text(models)
    arguments = [*COMPOSE["command"], "--enable_batching=true", "--batching_parameters_file=/config/batching.txt"]
    joined = "\n".join(arguments).replace("/config/models.config", str(folder / "models.config"))
    joined = joined.replace("/config/", f"{DEPLOY}/").replace("=8500", f"={ports[0]}").replace("=8501", f"={ports[1]}")
    joined = joined.replace("poll_wait_seconds=5", "poll_wait_seconds=0.2")
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "serving.server.main", *joined.split("\n")]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def is_ready(rest_port: int) -> bool:
    command = [part.replace("8501", str(rest_port)) for part in CONTAINER["readinessProbe"]["exec"]["command"]]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def until(condition: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def test_shipped_arguments_serve_report_readiness_and_export_the_metrics(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    publish(tmp_path / "twin", exporter(2.0, warmup_record([[1, 2]], [3])))
    with started(tmp_path, ports) as process:
        assert not is_ready(ports[1])
        until(lambda: is_ready(ports[1]), process, tmp_path / "log")
        inputs = {"x": np.array([[1.0, 2.0]], np.float32), "history/length": np.array([3])}
        for address in ({"grpc": f"127.0.0.1:{ports[0]}"}, {"rest": f"127.0.0.1:{ports[1]}"}):
            with Client(**address) as client:  # type: ignore[arg-type]
                assert client.predict(inputs).outputs["y"].tolist() == [[2.0, 4.0]]
        page = httpx.get(f"http://127.0.0.1:{ports[1]}/monitoring/prometheus/metrics").text
        exported = set(re.findall(r"^([\w:]+)\{", page, re.MULTILINE))
        for expression in EXPRESSIONS:
            assert names(expression) - OTHER_METRICS <= exported
        (tmp_path / "twin/1").rename(tmp_path / "twin/withdrawn-1")
        until(lambda: not is_ready(ports[1]), process, tmp_path / "log")
