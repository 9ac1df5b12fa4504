"""The fixture models, configuration files and flags that a server under test is started with.

Layout: `models/<name>/<version>/` what is served, `*.config` the configuration files.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from tensorflow_serving.apis import prediction_log_pb2

from model.errors import UserError
from serving.conformance.graph_models import CLASSIFY, REGRESS, write_batched, write_counting, write_tiny
from serving.conformance.target import model_spec
from serving.conformance.toy_model import write_toy
from serving.tensors import encode
from serving.warmup import WARMUP_FILE

REST_TIMEOUT_MS = 4000
GRPC_THREADS = 16
_LOAD_RETRIES = 1
METRICS_PATH = "/monitoring/prometheus/metrics"
WARMED = 1 + 10 + 100 + 110
# Models with one tiny version 1 that a case may change.
CHANGING = (
    *("new", "rolled_back", "emptied", "hidden", "retried", "warm_new", "warm_bad", "misbatched"),
    *("broken", "truncated", "untagged", "foreign"),
)
_POLICIES = {
    "toy": "specific { versions: 1 versions: 2 }",
    "pair": "latest { num_versions: 2 }",
    "every": "all {}",
    "picked": "specific { versions: 1 versions: 3 }",
}
_LABELS = {"toy": {"stable": 1, "canary": 2}}
# Threads are shared by all models and therefore global; all else is taken from each model's own file.
_THREADS = 'num_batch_threads { value: 1 } thread_pool_name { value: "conformance" }\n'
_BATCHED = """max_batch_size { value: 8 } batch_timeout_micros { value: 200000 }
max_enqueued_batches { value: 100 } allowed_batch_sizes: 4 allowed_batch_sizes: 8
"""
_SPLIT = """max_batch_size { value: 16 } batch_timeout_micros { value: 1000 }
enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 } max_enqueued_batches { value: 100 }
"""
_QUEUED = """max_batch_size { value: 1 } batch_timeout_micros { value: 0 }
max_enqueued_batches { value: 1 }
"""


class ModelsError(UserError):
    """A directory that cannot take the fixture models."""


def make_models(directory: Path) -> None:
    """Writes models and configuration files into a new or empty directory.

    Args:
        directory: Where; the server must see it under the same path.

    Raises:
        ModelsError: The directory holds something already.
    """
    directory = directory.absolute()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ModelsError(f"{directory} is not empty; name a new directory for the fixture models")
    models = directory / "models"
    for version in (1, 2):
        write_toy(models / "toy" / str(version), float(1 + version))
    for name in ("pair", "picked"):
        _tiny_versions(models / name, {"1": 1.0, "2": 2.0, "3": 3.0})
    _tiny_versions(models / "every", {"3": 3.0, "00000007": 7.0, "005": 4.0, "5": 5.0, "9x": 9.0, ".tmp-8-1": 8.0})
    for name in CHANGING:
        _tiny_versions(models / name, {"1": 1.0})
    write_counting(models / "counting" / "1")
    write_counting(models / "warm" / "1")
    write_warmup(models / "warm" / "1", _warmup_records())
    write_batched(models / "batched" / "1", _BATCHED)
    write_batched(models / "ragged" / "1", _BATCHED + "pad_variable_length_inputs: true")
    write_batched(models / "split" / "1", _SPLIT + "allowed_batch_sizes: 4")
    write_batched(models / "queued" / "1", _QUEUED, seconds=0.5)
    (directory / "models.config").write_text(models_config(directory, served_names()))
    (directory / "monitoring.config").write_text(f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}\n')
    (directory / "batching.config").write_text(_THREADS)


def served_names() -> list[str]:
    """The models of the configuration that the server starts with."""
    fixed = ["toy", "pair", "every", "picked", "counting", "warm", "batched", "ragged", "split", "queued"]
    return [*fixed, *CHANGING]


def models_config(directory: Path, names: list[str], labels: bool = True) -> str:
    """The text of a model config file.

    Args:
        directory: Of the fixture models.
        names: The models to serve.
        labels: Whether to give versions their labels.
    """
    return f"model_config_list {{\n{''.join(_config(directory, name, labels) for name in names)}}}\n"


def server_flags(directory: Path) -> list[str]:
    """The flags, ports aside, of the server that most cases ask."""
    directory = directory.absolute()
    return [
        f"--model_config_file={directory / 'models.config'}",
        f"--monitoring_config_file={directory / 'monitoring.config'}",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        f"--batching_parameters_file={directory / 'batching.config'}",
        "--enable_per_model_batching_parameters=true",
        "--enable_grpc_healthcheck_service=true",
        "--rest_api_enable_cors_support=true",
        f"--rest_api_timeout_in_ms={REST_TIMEOUT_MS}",
        f"--grpc_max_threads={GRPC_THREADS}",
        "--file_system_poll_wait_seconds=1",
        f"--max_num_load_retries={_LOAD_RETRIES}",
        "--load_retry_interval_micros=200000",
    ]


def publish_tiny(directory: Path, name: str, version: str, factor: float) -> Path:
    """Adds a version to a model, by a rename."""
    return publish_version(directory, name, version, lambda path: write_tiny(path, factor))


def publish_version(directory: Path, name: str, version: str, build: Callable[[Path], None]) -> Path:
    """Builds a version beside the model and renames it into its place."""
    temporary = directory / f".tmp-{name}-{version}"
    shutil.rmtree(temporary, ignore_errors=True)
    build(temporary)
    final = directory / "models" / name / version
    final.parent.mkdir(parents=True, exist_ok=True)
    return temporary.rename(final)


def write_warmup(path: Path, records: list[prediction_log_pb2.PredictionLog]) -> None:
    """Writes the warm-up requests of a version."""
    import tensorflow as tf

    file = path / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record.SerializeToString())


def attempts_at_a_broken_version() -> int:
    """How often the server of `server_flags` tries to load a version."""
    return 1 + _LOAD_RETRIES


def predict_record(signature: str = "") -> prediction_log_pb2.PredictionLog:
    """A recorded Predict request, under a name and version that no server has."""
    import numpy as np

    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.CopyFrom(model_spec("recorded_elsewhere", 99, signature=signature))
    log.predict_log.request.inputs["x"].CopyFrom(encode(np.ones([1], np.float32)))
    return log


def _warmup_records() -> list[prediction_log_pb2.PredictionLog]:
    classify, regress, multi = (prediction_log_pb2.PredictionLog() for _ in range(3))
    classify.classify_log.request.model_spec.CopyFrom(model_spec("warm", signature="classify"))
    regress.regress_log.request.model_spec.CopyFrom(model_spec("warm", signature="regress"))
    for method, signature in ((CLASSIFY, "classify"), (REGRESS, "regress")):
        task = multi.multi_inference_log.request.tasks.add(method_name=method)
        task.model_spec.CopyFrom(model_spec("warm", signature=signature))
    for request in (classify.classify_log.request, regress.regress_log.request, multi.multi_inference_log.request):
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(0.5)
    return [predict_record(), classify, regress, multi]


def _tiny_versions(model: Path, factors: dict[str, float]) -> None:
    for version, factor in factors.items():
        write_tiny(model / version, factor)


def _config(directory: Path, name: str, labels: bool) -> str:
    path = directory.absolute() / "models" / name
    policy = f" model_version_policy {{ {_POLICIES[name]} }}" if name in _POLICIES else ""
    named = _LABELS.get(name, {}) if labels else {}
    entries = "".join(f' version_labels {{ key: "{key}" value: {number} }}' for key, number in named.items())
    return f'  config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow"{policy}{entries} }}\n'
