"""The embedded server: a model store behind a gRPC and a REST endpoint."""

import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import tensorflow as tf
import uvicorn
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from model.errors import UserError
from serving.server.grpc_service import ModelService, PredictionService
from serving.server.model_store import ModelStore
from serving.server.options import ServerOptions
from serving.server.rest_app import RestApp
from serving.server.servable import Servable
from serving.server.warm_up import warm_up

_log = logging.getLogger(__name__)
_MAX_ANSWER_BYTES = 2**31 - 1


class AddressInUseError(UserError):
    """An address the server cannot listen on."""


class ModelServer:
    """A server in this process.

    The ports are taken at construction, so that a taken one is known before a model is loaded; requests are answered
    once every model has an available version.

    Args:
        options: Models, addresses and limits.

    Raises:
        AddressInUseError: A port is taken or not allowed.

    Example:
        >>> server = ModelServer(ServerOptions(models=(single_model("twin", "/models/twin"),)))  # doctest: +SKIP
        >>> server.start()  # doctest: +SKIP
        >>> server.stop()   # doctest: +SKIP
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._session_config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=options.intra_op_threads, inter_op_parallelism_threads=options.inter_op_threads
        )
        self._store = ModelStore(
            options.models,
            self._load,
            options.poll_wait_s,
            options.max_load_retries,
            options.load_retry_interval_s,
        )
        self.grpc_port: int | None = None
        self.rest_port: int | None = None
        self._grpc = self._bind_grpc() if options.grpc_port is not None else None
        self._rest_socket = self._bind_rest() if options.rest_port is not None else None
        self._rest: uvicorn.Server | None = None
        self._rest_thread: threading.Thread | None = None

    def start(self) -> None:
        """Loads the models, then answers requests. Blocks until each model has an available version.

        Raises:
            ServingError: A model's versions failed to load, or `stop` was called meanwhile.
        """
        self._store.start()
        self._store.wait_ready()
        if self._grpc is not None:
            self._grpc.start()
        if self._rest_socket is not None:
            self._start_rest(self._rest_socket)

    def stop(self, grace_s: float = 30.0) -> None:
        """Takes no more requests, finishes those that run, unloads the models.

        Args:
            grace_s: gRPC calls still running after this time are cut off.
        """
        stopped = self._grpc.stop(grace_s) if self._grpc is not None else None
        if self._rest is not None and self._rest_thread is not None:
            self._rest.should_exit = True
            self._rest_thread.join()
        if stopped is not None:
            stopped.wait()
        if self._rest_socket is not None:
            self._rest_socket.close()
        self._store.close()

    def _load(self, path: Path) -> Servable:
        servable = Servable(path, self._session_config)
        if not self._options.enable_warmup:
            return servable
        try:
            started = time.monotonic()
            count = warm_up(servable, self._options.warmup_iterations)
        except BaseException:
            servable.close()
            raise
        if count:
            _log.info("replayed %d warm-up requests of %s in %.1f s", count, path, time.monotonic() - started)
        return servable

    def _bind_grpc(self) -> grpc.Server:
        server = grpc.server(
            ThreadPoolExecutor(self._options.grpc_threads, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=self._options.grpc_threads,
            options=[
                ("grpc.max_receive_message_length", self._options.max_request_bytes),
                ("grpc.max_send_message_length", _MAX_ANSWER_BYTES),
                # Without this two servers share one port and take turns in answering.
                ("grpc.so_reuseport", 0),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(self._store), server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self._store), server)
        address = f"{self._options.host}:{self._options.grpc_port}"
        try:
            self.grpc_port = server.add_insecure_port(address)
        except RuntimeError:
            self.grpc_port = 0
        if self.grpc_port == 0:
            raise AddressInUseError(f"cannot listen on {address} for gRPC: {_listen_error(address)}")
        return server

    def _bind_rest(self) -> socket.socket:
        address = (self._options.host, self._options.rest_port or 0)
        family = socket.AF_INET6 if ":" in self._options.host else socket.AF_INET
        # asyncio turns off Nagle's delay (40 ms an answer) only where the protocol is named.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            listener.close()
            if self._grpc is not None:
                self._grpc.stop(None)
            reason = f"{error.strerror}; choose another port or stop what uses it"
            raise AddressInUseError(f"cannot listen on {address[0]}:{address[1]} for REST: {reason}") from None
        self.rest_port = listener.getsockname()[1]
        return listener

    def _start_rest(self, listener: socket.socket) -> None:
        app = RestApp(
            self._store, self._options.rest_threads, self._options.max_request_bytes, self._options.rest_timeout_ms
        )
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", server_header=False, timeout_keep_alive=60
        )
        self._rest = uvicorn.Server(config)
        self._rest_thread = threading.Thread(
            target=self._rest.run, kwargs={"sockets": [listener]}, name="rest", daemon=True
        )
        self._rest_thread.start()
        while not self._rest.started and self._rest_thread.is_alive():
            time.sleep(0.01)


def _listen_error(address: str) -> str:
    host, port = address.rsplit(":", 1)
    try:
        with socket.socket() as probe:
            probe.bind((host, int(port)))
    except (OSError, OverflowError) as error:
        return f"{getattr(error, 'strerror', None) or error}; choose another port or stop what uses it"
    return "the address was refused; choose another port or stop what uses it"
