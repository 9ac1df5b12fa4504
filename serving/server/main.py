"""The embedded server with the flags of `tensorflow_model_server`.

The flags have the names and units of the real server's; `--max_request_bytes` and `--host` are this one's own. It ends
with 0 on SIGTERM, with 2 on a mistake in its flags or the files they name, with 255 when the list of models is refused
(a relative path, a label for a version that is not available) or a model does not load.

Run as `python -m serving.server.main --port=8500 --rest_api_port=8501 --model_name=twin
--model_base_path=/models/twin`, or with several models as `--model_config_file=/models/models.config`.
"""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence

from tensorflow_serving.config import model_server_config_pb2

from model.errors import UserError
from serving.publisher import latest_version
from serving.server.model_config import local_base_path, read_model_config
from serving.server.options import MAX_REQUEST_BYTES, ServerOptions, single_model

# What the real server exits with when its models do not load.
_START_FAILED = 255
_INT32_MAX = 2**31 - 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, serves until SIGTERM, and returns the exit code."""
    flags = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    problem = _contradiction(flags)
    if problem:
        print(problem, file=sys.stderr)
        return 2

    from serving.serve import check_model_dir
    from serving.server.model_server import ModelServer, host_and_port
    from serving.server.run import run_until_stopped
    from serving.server.serving_error import ServingError

    def announce(server: ModelServer) -> None:
        if server.grpc_port is not None:
            print(f"Running gRPC ModelServer at {host_and_port(flags.host, server.grpc_port)} ...", file=sys.stderr)
        if server.rest_port is not None:
            print(f"Exporting HTTP/REST API at:{host_and_port(flags.host, server.rest_port)} ...", file=sys.stderr)

    try:
        models = _models(flags)
        for model in models:
            base_path = local_base_path(model)
            check_model_dir(base_path)
            if latest_version(base_path) is None:
                print(f"no version (1/, 2/, ...) under {base_path} yet; waiting for one", file=sys.stderr)
        run_until_stopped(_options(flags, models), announce)
    except ServingError as error:
        print(f"Failed to start server. Error: {error}", file=sys.stderr)
        return _START_FAILED
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _contradiction(flags: argparse.Namespace) -> str:
    if not flags.model_base_path and not flags.model_config_file:
        return "--model_base_path or --model_config_file is needed: what shall be served?"
    if not flags.model_name and not flags.model_config_file:
        return "--model_name must not be empty: requests name the model they ask"
    if not flags.port and not flags.rest_api_port:
        return "--port or --rest_api_port is needed: where shall requests be answered?"
    if (
        flags.tensorflow_session_parallelism
        and flags.tensorflow_intra_op_parallelism
        and flags.tensorflow_inter_op_parallelism
    ):
        return "set --tensorflow_session_parallelism or the intra and inter op ones, not all three"
    return ""


def _models(flags: argparse.Namespace) -> tuple[model_server_config_pb2.ModelConfig, ...]:
    if flags.model_config_file:
        return read_model_config(flags.model_config_file) or ()
    return (single_model(flags.model_name, flags.model_base_path),)


def _options(flags: argparse.Namespace, models: tuple[model_server_config_pb2.ModelConfig, ...]) -> ServerOptions:
    threads = 4 * (os.cpu_count() or 1)
    intra, inter = flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism
    if not intra and not inter:
        intra = inter = flags.tensorflow_session_parallelism
    return ServerOptions(
        models=models,
        host=flags.host,
        grpc_port=flags.port or None,
        rest_port=flags.rest_api_port or None,
        poll_wait_s=flags.file_system_poll_wait_seconds,
        max_load_retries=flags.max_num_load_retries,
        load_retry_interval_s=flags.load_retry_interval_micros / 1e6,
        enable_warmup=flags.enable_model_warmup,
        warmup_iterations=flags.num_request_iterations_for_warmup or 1,
        grpc_threads=flags.grpc_max_threads or threads,
        rest_threads=flags.rest_api_num_threads or threads,
        max_request_bytes=flags.max_request_bytes,
        rest_timeout_ms=flags.rest_api_timeout_in_ms,
        intra_op_threads=intra,
        inter_op_threads=inter,
        model_config_file=flags.model_config_file or None,
        model_config_poll_wait_s=flags.model_config_file_poll_wait_seconds,
        allow_labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
        num_load_threads=flags.num_load_threads,
        rest_enable_cors=flags.rest_api_enable_cors_support,
        ssl_config_file=flags.ssl_config_file or None,
        enable_batching=flags.enable_batching,
        batching_parameters_file=flags.batching_parameters_file or None,
        enable_per_model_batching_parameters=flags.enable_per_model_batching_parameters,
        monitoring_config_file=flags.monitoring_config_file or None,
        enable_grpc_health=flags.enable_grpc_healthcheck_service,
        grpc_channel_arguments=flags.grpc_channel_arguments,
        enable_signature_method_name_check=flags.enable_signature_method_name_check,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="serving.server.main",
        description="A model server that speaks TF Serving's APIs.",
        allow_abbrev=False,
    )
    add = parser.add_argument

    def switch(name: str, text: str, default: bool = False) -> None:
        add(name, type=_boolean, nargs="?", const=True, default=default, help=text)

    add("--port", type=_port, default=8500, help="gRPC port; 0 = no gRPC")
    add("--rest_api_port", type=_port, default=0, help="REST port; 0 = no REST")
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--model_name", default="default", help="name of the model")
    add("--model_base_path", default="", help="directory of the numbered versions")
    add("--model_config_file", default="", help="text proto of the models to serve, instead of the two flags above")
    add(
        "--model_config_file_poll_wait_seconds",
        type=_seconds,
        default=0.0,
        help="time between two looks at that file; 0 = never",
    )
    switch("--allow_version_labels_for_unavailable_models", "a new label may name a version that is not available")
    add("--num_load_threads", type=_count, default=0, help="versions loaded at once; 0 = one after the other")
    add(
        "--file_system_poll_wait_seconds",
        type=_seconds,
        default=1.0,
        help="time between two looks for new versions; 0 = look once",
    )
    add("--max_num_load_retries", type=_count, default=5, help="further attempts to load a version that failed")
    add("--load_retry_interval_micros", type=_micros, default=60_000_000, help="time between them")
    switch("--enable_model_warmup", "replay warm-up requests before a version serves", default=True)
    add("--num_request_iterations_for_warmup", type=_count, default=0, help="how often each; 0 = once")
    add("--grpc_max_threads", type=_count, default=0, help="gRPC calls at once; 0 = 4 per core")
    add(
        "--grpc_channel_arguments",
        type=_channel_arguments,
        default=(),
        help="gRPC's own options, for example grpc.max_connection_age_ms=2000,grpc.keepalive_time_ms=60000",
    )
    add("--rest_api_num_threads", type=_count, default=0, help="REST calls at once; 0 = 4 per core")
    add("--rest_api_timeout_in_ms", type=_count, default=30_000, help="time limit of a REST request; 0 = none")
    switch("--rest_api_enable_cors_support", "answer REST requests with CORS headers")
    add("--ssl_config_file", default="", help="text proto SSLConfig: key and certificates for gRPC")
    switch("--enable_batching", "merge requests into batches")
    add("--batching_parameters_file", default="", help="text proto BatchingParameters; needs --enable_batching")
    switch("--enable_per_model_batching_parameters", "read batching_params.pbtxt of each version instead")
    add("--monitoring_config_file", default="", help="text proto MonitoringConfig: Prometheus metrics on the REST port")
    switch("--enable_grpc_healthcheck_service", "serve grpc.health.v1.Health")
    switch("--enable_signature_method_name_check", "classify and regress only signatures made for it")
    add(
        "--max_request_bytes",
        type=_message_size,
        default=MAX_REQUEST_BYTES,
        help="longest gRPC message or REST body taken",
    )
    add("--tensorflow_session_parallelism", type=_count, default=0, help="both of the next two, where they are not set")
    add(
        "--tensorflow_intra_op_parallelism",
        type=_count,
        default=0,
        help="threads within an operation; 0 = one per core",
    )
    add("--tensorflow_inter_op_parallelism", type=_count, default=0, help="operations at once; 0 = one per core")
    return parser


def _whole(text: str, least: int, most: int, what: str) -> int:
    if re.fullmatch("[0-9]{1,19}", text) is None or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"expected {least} to {most}{what}, got {text!r}")
    return int(text)


def _port(text: str) -> int:
    return _whole(text, 0, 2**16 - 1, "")


def _count(text: str) -> int:
    return _whole(text, 0, _INT32_MAX, "")


def _micros(text: str) -> int:
    return _whole(text, 0, 2**63 - 1, " microseconds")


def _message_size(text: str) -> int:
    return _whole(text, 1, _INT32_MAX, " bytes")


def _channel_arguments(text: str) -> tuple[tuple[str, str | int], ...]:
    out: list[tuple[str, str | int]] = []
    for argument in filter(None, text.split(",")):
        name, equals, value = argument.partition("=")
        if not name or not equals:
            raise argparse.ArgumentTypeError(f"expected name=value,name=value, got {argument!r}")
        is_number = re.fullmatch(r"-?[0-9]{1,10}", value) is not None and abs(int(value)) <= _INT32_MAX
        if not is_number and re.fullmatch(r"-?[0-9]+", value):
            raise argparse.ArgumentTypeError(f"expected a number of 32 bits after {name}=, got {value!r}")
        out.append((name, int(value) if is_number else value))
    return tuple(out)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _INT32_MAX:
        raise argparse.ArgumentTypeError(f"expected seconds, 0 to {_INT32_MAX}, got {text!r}")
    return seconds


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text.lower() in ("true", "1")


if __name__ == "__main__":
    sys.exit(main())
