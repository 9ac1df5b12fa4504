"""The list of models a server is told to serve."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from tensorflow_serving.config import model_server_config_pb2

from model.errors import UserError
from serving.server.serving_error import invalid
from serving.server.text_proto import read_text_proto

PLATFORM = "tensorflow"
_FILE_SCHEME = "file://"

Config: TypeAlias = model_server_config_pb2.ModelConfig


class ModelConfigError(UserError):
    """A model configuration file that says something this server cannot do."""


def read_model_config(path: str | os.PathLike[str]) -> tuple[Config, ...] | None:
    """Reads a `ModelServerConfig` text proto, the `--model_config_file`.

    Args:
        path: The file.

    Returns:
        The configuration of each model, in order; None where there is no model_config_list, as in an empty file.

    Raises:
        TextProtoError: The file cannot be read or parsed; names the line.
        ModelConfigError: It holds a custom_model_config.
    """
    config = read_text_proto(path, model_server_config_pb2.ModelServerConfig())
    if config.HasField("custom_model_config"):
        raise ModelConfigError(f"{path}: custom_model_config is not supported; list the models in model_config_list")
    return tuple(config.model_config_list.config) if config.HasField("model_config_list") else None


def check_models(configs: Sequence[Config], served: Mapping[str, Config]) -> None:
    """Refuses a list of models as TF Serving does.

    Args:
        configs: The new list.
        served: The configuration of each model served so far.

    Raises:
        ServingError: INVALID_ARGUMENT, a name is listed twice, a base path is relative or in no local file system, or
            a platform is unset, unsupported or another than before.
    """
    names: set[str] = set()
    for config in configs:
        if config.name in names:
            raise invalid(f"Illegal to list model {config.name} multiple times in config list")
        names.add(config.name)
    for config in configs:
        local_base_path(config)
    for config in configs:
        platform = _platform(config)
        if config.name in served and platform != _platform(served[config.name]):
            raise invalid(
                f"Illegal to change a model's platform. For model {config.name} platform was "
                f"{_platform(served[config.name])} and new platform requested is {platform}"
            )
        if platform != PLATFORM:
            raise invalid(f"Model {config.name} requests unsupported platform {platform}")


def local_base_path(config: Config) -> Path:
    """The directory of a model's versions.

    Raises:
        ServingError: INVALID_ARGUMENT, the base path is relative or a URI of no local file system.
    """
    path = config.base_path.removeprefix(_FILE_SCHEME)
    if "\0" in path:
        raise invalid(f"Model {config.name} has a zero byte in its base_path()={config.base_path!r}")
    if "://" in path:
        raise invalid(
            f"Model {config.name} has base_path()={config.base_path}; this server reads local directories only"
        )
    if not path.startswith("/"):
        raise invalid(
            f"Expected model {config.name} to have an absolute path or URI; got base_path()={config.base_path}"
        )
    return Path(path)


def _platform(config: Config) -> str:
    if config.model_type == model_server_config_pb2.MODEL_TYPE_UNSPECIFIED:
        if not config.model_platform:
            raise invalid(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                "ModelServerConfig::model_platform."
            )
        return str(config.model_platform)
    if config.model_platform:
        raise invalid(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
        )
    if config.model_type != model_server_config_pb2.TENSORFLOW:
        raise invalid(f"ModelServerConfig::model_type choice {config.model_type} not supported.")
    return PLATFORM
