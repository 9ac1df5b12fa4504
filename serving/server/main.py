"""The embedded server with the flags of `tensorflow_model_server`.

The flags have the names and units of the real server's; `--max_request_bytes` and `--host` are this one's own. It ends
with 0 on SIGTERM, with 2 on a mistake in its flags, with 255 when the model does not load.

Run as `python -m serving.server.main --port=8500 --rest_api_port=8501 --model_name=twin
--model_base_path=/models/twin`.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from model.errors import UserError
from serving.publisher import latest_version
from serving.server.options import MAX_REQUEST_BYTES, ServerOptions, single_model

# What the real server exits with when its models do not load.
_START_FAILED = 255


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, serves until SIGTERM, and returns the exit code."""
    flags = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    if not flags.model_base_path:
        print("--model_base_path is needed", file=sys.stderr)
        return 2

    from serving.serve import check_model_dir
    from serving.server.model_server import ModelServer
    from serving.server.run import run_until_stopped
    from serving.server.status import ServingError

    def announce(server: ModelServer) -> None:
        print(f"Running gRPC ModelServer at {flags.host}:{server.grpc_port} ...", file=sys.stderr)
        if server.rest_port is not None:
            print(f"Exporting HTTP/REST API at:{flags.host}:{server.rest_port} ...", file=sys.stderr)

    try:
        check_model_dir(Path(flags.model_base_path))
        if latest_version(Path(flags.model_base_path)) is None:
            print(f"no version (1/, 2/, ...) under {flags.model_base_path} yet; waiting for one", file=sys.stderr)
        run_until_stopped(_options(flags), announce)
    except ServingError as error:
        print(f"Failed to start server. Error: {error}", file=sys.stderr)
        return _START_FAILED
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _options(flags: argparse.Namespace) -> ServerOptions:
    threads = 4 * (os.cpu_count() or 1)
    return ServerOptions(
        models=(single_model(flags.model_name, flags.model_base_path),),
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
        intra_op_threads=flags.tensorflow_intra_op_parallelism,
        inter_op_threads=flags.tensorflow_inter_op_parallelism,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="serving.server.main", description="A model server that speaks TF Serving's APIs."
    )
    add = parser.add_argument
    add("--port", type=int, default=8500, help="gRPC port; 0 = no gRPC")
    add("--rest_api_port", type=int, default=0, help="REST port; 0 = no REST")
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--model_name", default="default", help="name of the model")
    add("--model_base_path", default="", help="directory of the numbered versions")
    add("--file_system_poll_wait_seconds", type=float, default=1.0, help="time between two looks for new versions")
    add("--max_num_load_retries", type=int, default=5, help="further attempts to load a version that failed")
    add("--load_retry_interval_micros", type=int, default=60_000_000, help="time between them")
    add("--enable_model_warmup", type=_boolean, default=True, help="replay warm-up requests before a version serves")
    add("--num_request_iterations_for_warmup", type=int, default=0, help="how often each; 0 = once")
    add("--grpc_max_threads", type=int, default=0, help="gRPC calls at once; 0 = 4 per core")
    add("--rest_api_num_threads", type=int, default=0, help="REST calls at once; 0 = 4 per core")
    add("--rest_api_timeout_in_ms", type=int, default=30_000, help="time limit of a REST request")
    add(
        "--max_request_bytes",
        type=_message_size,
        default=MAX_REQUEST_BYTES,
        help="longest gRPC message or REST body taken",
    )
    add("--tensorflow_intra_op_parallelism", type=int, default=0, help="threads within an operation; 0 = one per core")
    add("--tensorflow_inter_op_parallelism", type=int, default=0, help="operations at once; 0 = one per core")
    return parser


def _message_size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 2**31 - 1:
        raise argparse.ArgumentTypeError(f"expected 1 to {2**31 - 1} bytes, got {text!r}")
    return int(text)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text.lower() in ("true", "1")


if __name__ == "__main__":
    sys.exit(main())
