"""The server's configuration, the compose file and the manifests: parsed, and held against each other and the page."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from pipelines.commands.refresh import refresh
from serving.server.config_messages import BatchingParameters, MonitoringConfig
from serving.server.main import main
from tests.deploy_files import COMPOSE, CONTAINER, DEPLOY, DEPLOYMENT, DOCS, MANIFESTS, POD, manifests, read
from tests.kubernetes_fields import wrong_fields
from tests.server_models import ROOT

# The embedded server has no gRPC core to pass these on to.
REAL_SERVER_ONLY = {"grpc_channel_arguments"}


# --- the server's own files ---


def parsed(name: str, message: Any) -> Any:
    return text_format.Parse((DEPLOY / name).read_text(), message)


def test_models_config() -> None:
    config = parsed("models.config", model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert [(model.name, model.base_path, model.model_platform) for model in config] == [
        ("twin", "/models/twin", "tensorflow")
    ]
    assert config[0].model_version_policy.latest.num_versions == 1


def test_monitoring_config() -> None:
    config = parsed("monitoring.config", MonitoringConfig()).prometheus_config
    assert config.enable
    assert config.path == POD["metadata"]["annotations"]["prometheus.io/path"]
    assert config.path == read("prometheus/prometheus.yaml")["scrape_configs"][0]["metrics_path"]
    assert f"`{config.path}`" in DOCS


def test_batching() -> None:
    batching = parsed("batching.txt", BatchingParameters())
    assert 1 < batching.max_batch_size.value <= 8
    assert batching.batch_timeout_micros.value == 0
    assert batching.pad_variable_length_inputs
    assert 0 < batching.num_batch_threads.value <= 4
    waiting = batching.max_batch_size.value * (batching.num_batch_threads.value + batching.max_enqueued_batches.value)
    assert f"{waiting} with the shipped file" in DOCS


# --- flags ---


def flags(arguments: list[str]) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


def test_flags_are_the_servers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"^  --(\w+)", capsys.readouterr().out, re.MULTILINE))
    documented = set(re.findall(r"--([a-z]+_[a-z_]*[a-z])\b", DOCS)) - {"max_request_bytes"}
    used = flags(COMPOSE["command"]).keys() | flags(CONTAINER["args"]).keys()
    assert used <= known | REAL_SERVER_ONLY
    assert documented <= known | REAL_SERVER_ONLY
    assert "host" not in used


def test_compose_and_kubernetes_start_the_same_server() -> None:
    assert COMPOSE["image"] == CONTAINER["image"] == "tensorflow/serving:2.16.1"
    assert COMPOSE["entrypoint"] == CONTAINER["command"] == ["tensorflow_model_server"]
    differ = {"file_system_poll_wait_seconds", *REAL_SERVER_ONLY}
    here, there = flags(COMPOSE["command"]), flags(CONTAINER["args"])
    assert {k: v for k, v in here.items() if k not in differ} == {k: v for k, v in there.items() if k not in differ}
    assert COMPOSE["healthcheck"]["test"][1:] == CONTAINER["readinessProbe"]["exec"]["command"]
    assert str(COMPOSE["cpus"]) == CONTAINER["resources"]["limits"]["cpu"] == here["tensorflow_intra_op_parallelism"]
    assert f"so with {there['file_system_poll_wait_seconds']} seconds" in " ".join(DOCS.split())


# --- compose ---


def test_compose_listens_on_loopback_and_may_write_nothing() -> None:
    assert [port.rsplit(":", 1)[0] for port in COMPOSE["ports"]] == ["127.0.0.1:8500", "127.0.0.1:8501"]
    assert COMPOSE["read_only"] is True
    assert COMPOSE["cap_drop"] == ["ALL"]
    assert all(volume.endswith(":ro") for volume in COMPOSE["volumes"])
    files = [volume.split(":")[0] for volume in COMPOSE["volumes"][1:]]
    assert all((DEPLOY / file).is_file() for file in files)


# --- Kubernetes ---


def test_every_field_belongs_where_it_stands() -> None:
    documents = [document for file in MANIFESTS for document in yaml.safe_load_all(file.read_text())]
    assert [wrong for document in documents for wrong in wrong_fields(document)] == []
    misspelt = {**documents[0], "spec": {"minReadySecond": 1, "selector": {"matchLabels": {"a": True}}}}
    assert wrong_fields(misspelt) == [
        "Deployment.spec.minReadySecond",
        "Deployment.spec.selector.matchLabels.a: True is no str",
    ]


def test_every_manifest_is_applied_once() -> None:
    kustomization = read("kustomization.yaml")
    assert [DEPLOY / name for name in kustomization["resources"]] == [
        DEPLOY / f"kubernetes/{name}.yaml"
        for name in ("deployment", "services", "pod-disruption-budget", "horizontal-pod-autoscaler", "refresh")
    ]
    assert sorted(DEPLOY / name for name in kustomization["resources"]) == MANIFESTS
    (config,) = kustomization["configMapGenerator"]
    assert all((DEPLOY / name).is_file() for name in config["files"])
    volume = next(volume for volume in POD["spec"]["volumes"] if volume["name"] == "config")
    assert volume["configMap"]["name"] == config["name"]
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    for flag in ("model_config_file", "monitoring_config_file"):
        path = Path(flags(CONTAINER["args"])[flag])
        assert path.parent == Path(mounts["config"])
        assert path.name in config["files"]


def test_selectors_find_the_pods() -> None:
    labels = POD["metadata"]["labels"].items()
    services, budget = manifests("Service"), manifests("PodDisruptionBudget")[0]
    selectors = [service["spec"]["selector"] for service in services]
    selectors += [DEPLOYMENT["spec"]["selector"]["matchLabels"], budget["spec"]["selector"]["matchLabels"]]
    selectors += [POD["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]]
    assert all(selector and selector.items() <= labels for selector in selectors)
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    started = flags(CONTAINER["args"])
    assert ports == {"grpc": int(started["port"]), "rest": int(started["rest_api_port"])}
    served = {port["targetPort"]: port["port"] for service in services for port in service["spec"]["ports"]}
    assert served == ports
    headless = {service["metadata"]["name"] for service in services if service["spec"].get("clusterIP") == "None"}
    assert headless == {"twin-serving-grpc"}
    assert 'Client(grpc="dns:///twin-serving-grpc:8500")' in DOCS


def test_replicas_come_and_go_one_at_a_time() -> None:
    spec = DEPLOYMENT["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert manifests("PodDisruptionBudget")[0]["spec"]["maxUnavailable"] == 1
    scaler = manifests("HorizontalPodAutoscaler")[0]
    assert scaler["apiVersion"] == "autoscaling/v2"
    target = scaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", DEPLOYMENT["metadata"]["name"])
    assert 1 < scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]
    assert "replicas" not in spec
    startup = CONTAINER["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] < spec["progressDeadlineSeconds"]


def test_a_leaving_replica_outlasts_its_connections() -> None:
    sleep = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    channel = dict(pair.split("=") for pair in flags(CONTAINER["args"])["grpc_channel_arguments"].split(","))
    # gRPC looks names up at most every 30 seconds.
    assert int(channel["grpc.max_connection_age_ms"]) / 1000 + 30 < sleep
    assert sleep < POD["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", ["serving", "refresh"])
def test_containers_are_confined_and_pinned(name: str) -> None:
    jobs = manifests("CronJob")[0]["spec"]["jobTemplate"]["spec"]["template"]
    pod = (POD if name == "serving" else jobs)["spec"]
    (container,) = pod["containers"]
    assert container["name"] == name
    assert re.fullmatch(r"[\w/-]+:\d+\.\d+\.\d+", container["image"])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_refresh_job() -> None:
    job = manifests("CronJob")[0]["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    assert job["suspend"] is True
    (container,) = job["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["twin", "refresh"]
    app = typer.Typer(add_completion=False)
    app.command()(refresh)
    command = typer.main.get_command(app)
    options = {option for parameter in command.params for option in parameter.opts}
    assert {argument.split("=")[0] for argument in container["args"]} <= options
    assert f"'{container['image'].split(':')[1]}'" in (ROOT / "setup.py").read_text().replace('"', "'")
    models = "persistentVolumeClaim", {"claimName": "twin-models"}
    for pod in (POD["spec"], job["jobTemplate"]["spec"]["template"]["spec"]):
        assert models in [next(iter(volume.items())) for volume in map(without_name, pod["volumes"])]


def without_name(volume: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in volume.items() if key != "name"}


# --- the page ---


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_bytes_per_row_are_the_tables(dtype: Any) -> None:
    from model.item_table import ItemTable

    table = ItemTable({"item_id": None, "author": None, "topics": 2}, heads=4, head_dim=32, dtype=dtype)
    rows = 1000
    ids = np.arange(1, rows, dtype=np.int64)
    one = np.ones(rows - 1, np.int32)
    table.assign(ids, {"item_id": one, "author": one, "topics": np.ones([rows - 1, 2], np.int32)})
    by_row = [table.ids, table.id_index.keys, table.id_index.rows, table.projection, *table.index.values()]
    size = sum(variable.dtype.size * int(np.prod(variable.read_value().shape)) for variable in by_row)
    (row,) = re.findall(rf"^\| {dtype} \| (\d+) \| ([\d.]+) GB \| ([\d.]+) GB \| ([\d.]+) GB \|", DOCS, re.MULTILINE)
    assert round(size / rows) == int(row[0])
    for millions, text in zip((1, 10, 100), row[1:], strict=True):
        assert f"{millions * int(row[0]) / 1000:.{len(text.split('.')[1])}f}" == text


def test_links_of_the_page() -> None:
    assert "(docs/serving.md)" in (ROOT / "README.md").read_text()
    for name in re.findall(r"`((?:prometheus|grafana|kubernetes)/[\w./-]+|batching\.txt)`", DOCS):
        assert (DEPLOY / name).exists()
