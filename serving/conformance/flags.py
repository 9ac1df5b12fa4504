"""The sets of flags that cases need a server to be started with; each writes the files it names."""

import shutil
from collections.abc import Callable
from pathlib import Path

from serving.conformance.certificates import write_certificates
from serving.conformance.graph_models import write_batched, write_counting, write_tiny
from serving.conformance.models import make_models, models_config, predict_record, server_flags, write_warmup

PLAIN_MODELS = ["new", "warm", "counting"]
WARMUP_ITERATIONS = 3


def main_flags(directory: Path) -> list[str]:
    """Everything switched on, all fixture models: the server that most cases ask."""
    make_models(directory)
    return server_flags(directory)


def plain_flags(directory: Path) -> list[str]:
    """A polled model config file, checked method names and repeated warm-up; what most cases need is switched off."""
    for name in ("new", "broken"):
        for version in (1, 2):
            write_tiny(directory / "models" / name / str(version), float(version))
    config = directory / "models.config"
    for name in ("warm", "counting"):
        write_counting(directory / "models" / name / "1")
    write_warmup(directory / "models" / "warm" / "1", [predict_record()])
    config.write_text(models_config(directory, PLAIN_MODELS))
    return [
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=1",
        "--enable_signature_method_name_check=true",
        f"--num_request_iterations_for_warmup={WARMUP_ITERATIONS}",
    ]


def secured_flags(directory: Path) -> list[str]:
    """One model named by flags, mutual TLS, batching without parameters, warm-up off, metrics at their default path."""
    write_certificates(directory)
    write_batched(directory / "models" / "only" / "1", "")
    write_warmup(directory / "models" / "only" / "1", [predict_record("no such signature")])
    (directory / "monitoring.config").write_text("prometheus_config { enable: true }")
    return [
        "--model_name=only",
        f"--model_base_path={directory / 'models' / 'only'}",
        f"--ssl_config_file={directory / 'ssl.config'}",
        f"--monitoring_config_file={directory / 'monitoring.config'}",
        "--enable_batching=true",
        "--enable_model_warmup=false",
    ]


def empty_flags(directory: Path) -> list[str]:
    """A model without a version yet."""
    (directory / "models" / "late").mkdir(parents=True)
    return ["--model_name=late", f"--model_base_path={directory / 'models' / 'late'}"]


def broken_flags(directory: Path) -> list[str]:
    """A model whose only version does not load."""
    write_tiny(directory / "models" / "broken" / "1", 1.0)
    shutil.rmtree(directory / "models" / "broken" / "1" / "variables")
    base = directory / "models" / "broken"
    return ["--model_name=broken", f"--model_base_path={base}", "--max_num_load_retries=0"]


def labelled_flags(directory: Path) -> list[str]:
    """A config file whose model has a label, without the flag that admits it at the start."""
    write_tiny(directory / "models" / "toy" / "1", 1.0)
    config = directory / "models.config"
    text = models_config(directory, ["toy"]).replace("versions: 1 versions: 2", "versions: 1")
    config.write_text(text.replace(' version_labels { key: "canary" value: 2 }', ""))
    return [f"--model_config_file={config}"]


def batching_file_flags(directory: Path) -> list[str]:
    """A batching parameters file without batching."""
    write_tiny(directory / "models" / "only" / "1", 1.0)
    (directory / "batching.config").write_text("max_batch_size { value: 8 }")
    base = directory / "models" / "only"
    return [
        "--model_name=only",
        f"--model_base_path={base}",
        f"--batching_parameters_file={directory / 'batching.config'}",
    ]


KINDS: dict[str, Callable[[Path], list[str]]] = {
    "main": main_flags,
    "plain": plain_flags,
    "secured": secured_flags,
    "empty": empty_flags,
    "broken": broken_flags,
    "labelled": labelled_flags,
    "batching_file": batching_file_flags,
}
# The others answer once they are up.
MAY_NOT_ANSWER = {"empty", "broken", "labelled", "batching_file"}
