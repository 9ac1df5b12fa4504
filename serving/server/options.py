"""What a server is told at its start."""

import os
from dataclasses import dataclass, field

from tensorflow_serving.config import model_server_config_pb2

_THREADS = 4 * (os.cpu_count() or 1)
MAX_REQUEST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class ServerOptions:
    """Options of the embedded server; defaults are TF Serving's unless said otherwise.

    Attributes:
        models: Name, base path and version policy of each model.
        host: Address to listen on; loopback, where TF Serving listens on all.
        grpc_port: Port of gRPC; 0 = any free one, None = no gRPC.
        rest_port: Port of REST; 0 = any free one, None = no REST.
        poll_wait_s: Time between two looks for new versions.
        max_load_retries: Further attempts to load a version that failed.
        load_retry_interval_s: Time between them.
        enable_warmup: Replay a version's warm-up requests before it is available.
        warmup_iterations: How often each of them.
        grpc_threads: gRPC calls at once; more are refused with RESOURCE_EXHAUSTED.
        rest_threads: REST calls at once; 128 more wait, those beyond are refused with RESOURCE_EXHAUSTED.
        rest_timeout_ms: The work of a REST request is given up after this time; an operation that runs is not stopped.
        max_request_bytes: Longest gRPC message or REST body (gunzipped too) taken; TF Serving takes 2 GiB. As many
            requests as there are threads may be in memory at once.
        intra_op_threads: Threads within an operation; 0 = one per core.
        inter_op_threads: Operations at once; 0 = one per core.
        model_config_file: The file `models` was read from, read again every `model_config_poll_wait_s`; None = none.
        model_config_poll_wait_s: Time between two looks at that file; 0 = never.
        allow_labels_for_unavailable: A new version label may be given to a version that is not AVAILABLE; a label
            moves only to an available one.
        num_load_threads: Versions loaded at once; 0 = one after the other.
        rest_enable_cors: Answer REST requests with CORS headers.
        ssl_config_file: Text proto `SSLConfig` for gRPC; None = no TLS.
        enable_batching: Merge requests into batches.
        batching_parameters_file: Text proto `BatchingParameters`; None = the defaults.
        enable_per_model_batching_parameters: Read `batching_params.pbtxt` of each version instead.
        monitoring_config_file: Text proto `MonitoringConfig`; None = no metrics endpoint.
        enable_grpc_health: Serve `grpc.health.v1.Health`.
        grpc_channel_arguments: gRPC's own options by name, for example `grpc.max_connection_age_ms`.
        enable_signature_method_name_check: Classify and regress only signatures made for it.
    """

    models: tuple[model_server_config_pb2.ModelConfig, ...]
    host: str = "127.0.0.1"
    grpc_port: int | None = 8500
    rest_port: int | None = None
    poll_wait_s: float = 1.0
    max_load_retries: int = 5
    load_retry_interval_s: float = 60.0
    enable_warmup: bool = True
    warmup_iterations: int = 1
    grpc_threads: int = field(default=_THREADS)
    rest_threads: int = field(default=_THREADS)
    rest_timeout_ms: int = 30_000
    max_request_bytes: int = MAX_REQUEST_BYTES
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    model_config_file: str | None = None
    model_config_poll_wait_s: float = 0.0
    allow_labels_for_unavailable: bool = False
    num_load_threads: int = 0
    rest_enable_cors: bool = False
    ssl_config_file: str | None = None
    enable_batching: bool = False
    batching_parameters_file: str | None = None
    enable_per_model_batching_parameters: bool = False
    monitoring_config_file: str | None = None
    enable_grpc_health: bool = False
    grpc_channel_arguments: tuple[tuple[str, str | int], ...] = ()
    enable_signature_method_name_check: bool = False


def single_model(name: str, base_path: str) -> model_server_config_pb2.ModelConfig:
    """The configuration of a model whose highest version is served."""
    return model_server_config_pb2.ModelConfig(name=name, base_path=base_path, model_platform="tensorflow")
