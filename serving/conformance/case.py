"""One behaviour of the reference and the function that shows it."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from serving.conformance.target import Target


class Section(Enum):
    """Parts of the reference behaviour, and the files of the tensorflow/serving repository that define them."""

    REST_ROUTING = "REST routing (http_rest_api_handler.cc, http_server.cc)"
    REST_ERRORS = "REST errors (http_rest_api_util.cc)"
    REST_STATUS = "REST status and metadata (http_rest_api_handler.cc)"
    REST_ROW = "REST predict, row form (json_tensor.cc)"
    REST_COLUMNAR = "REST predict, columnar form (json_tensor.cc)"
    REST_TYPES = "REST types and number output (json_tensor.cc)"
    REST_BINARY = "REST strings and base64 (json_tensor.cc)"
    REST_EXAMPLES = "REST classify and regress (json_tensor.cc, classifier.cc, regressor.cc)"
    GRPC_PREDICT = "gRPC Predict (predict_util.cc)"
    GRPC_STATUS = "gRPC status codes (grpc_status_util.cc, prediction_service_impl.cc)"
    GRPC_INFERENCE = "gRPC Classify, Regress, MultiInference (classifier.cc, regressor.cc, multi_inference.cc)"
    GRPC_METADATA = "gRPC GetModelMetadata (get_model_metadata_impl.cc)"
    GRPC_MODEL_STATUS = "gRPC GetModelStatus (get_model_status_impl.cc)"
    GRPC_HEALTH = "gRPC health (server.cc)"
    CONFIG = "Model config: policies and labels (server_core.cc)"
    RELOAD = "HandleReloadConfigRequest (model_service_impl.cc, server_core.cc)"
    VERSIONS = "Versions on disk (file_system_storage_path_source.cc, availability_preserving_policy.cc)"
    BATCHING = "Batching (batching_session.cc)"
    WARM_UP = "Warm-up (saved_model_warmup.cc)"
    METRICS = "Metrics (prometheus_exporter.cc)"
    START = "Start and flags (main.cc, server.cc)"
    TLS = "TLS (ssl_config.proto, server.cc)"


@dataclass(frozen=True)
class Case:
    """A behaviour.

    Attributes:
        section: The part of the reference it belongs to.
        module: Where it is written.
        on: The kind of server (`flags.KINDS`) that shows it.
        title: The behaviour in one sentence.
        run: Shows it on a server: returns when it is there, raises `checks.Mismatch` when it is not and
            `target.Unavailable` where this server cannot be asked.
    """

    section: Section
    module: str
    on: str
    title: str
    run: Callable[[Target], None]


REGISTRY: list[Case] = []
# The kind of server that shows most behaviours.
MAIN = "main"


def case(
    section: Section, rows: Sequence[Sequence[Any]] = ((),), on: str = MAIN
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function as a case; its docstring is the title.

    Args:
        section: The part of the reference the behaviour belongs to.
        rows: One case for each row, whose values follow the target in the call and fill `{0}`, `{1}`, ... in the title.
        on: The kind of server that the function is to be given.

    Returns:
        The decorator.

    Example:
        >>> @case(Section.REST_STATUS, rows=[("nobody",), ("toy2",)])  # doctest: +SKIP
        ... def unknown_model(target, name):
        ...     "The status of the unknown model {0} is 404."
        ...     checks.rest_error(target.get(f"/v1/models/{name}"), 404)
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        title = " ".join(inspect.cleandoc(function.__doc__ or function.__name__).split())
        for row in rows:
            REGISTRY.append(Case(section, function.__module__, on, _title(title, row), _bind(function, tuple(row))))
        return function

    return register


def _title(title: str, row: Sequence[Any]) -> str:
    return title.format(*(_short(value) for value in row)) if row else title


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _bind(function: Callable[..., None], row: tuple[Any, ...]) -> Callable[[Target], None]:
    return lambda target: function(target, *row)
