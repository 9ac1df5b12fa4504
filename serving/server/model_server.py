"""The embedded server: a model store behind a gRPC and a REST endpoint."""

import logging
import math
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import uvicorn
from grpc_health.v1 import health, health_pb2_grpc
from starlette.types import ASGIApp
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from model.errors import UserError
from serving.server.config_poller import ConfigPoller
from serving.server.grpc_calls import MAX_WAITING_CALLS, SPARE_THREADS, CallInterceptor
from serving.server.grpc_service import ModelService, PredictionService
from serving.server.loader import ServableLoader
from serving.server.model_store import ModelStore
from serving.server.monitoring import MetricsEndpoint, read_metrics_path
from serving.server.options import ServerOptions
from serving.server.rest_app import RestApp
from serving.server.rest_limit import MAX_WAITING_REQUESTS, RestLimit
from serving.server.tls import read_server_credentials

_log = logging.getLogger(__name__)
_MAX_ANSWER_BYTES = 2**31 - 1
# At the end: between two looks whether calls still run, and for sending the last answers.
_LOOK_S = 0.1
_LAST_ANSWERS_S = 1.0


class AddressInUseError(UserError):
    """An address the server cannot listen on."""


class TlsError(UserError):
    """Keys and certificates that gRPC does not take."""


class ModelServer:
    """A server in this process.

    The ports are taken at construction, so that a taken one is known before a model is loaded; requests are answered
    once every model has an available version.

    Args:
        options: Models, addresses and limits.

    Raises:
        AddressInUseError: A port is taken or not allowed.
        TextProtoError: A configuration file cannot be read or parsed.
        TlsError: The key and certificates do not belong together or are none.
        ServingError: INVALID_ARGUMENT, batching parameters that contradict the options or each other.

    Example:
        >>> server = ModelServer(ServerOptions(models=(single_model("twin", "/models/twin"),)))  # doctest: +SKIP
        >>> server.start()  # doctest: +SKIP
        >>> server.stop()   # doctest: +SKIP
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._credentials = read_server_credentials(Path(options.ssl_config_file)) if options.ssl_config_file else None
        monitoring = options.monitoring_config_file
        self._metrics_path = read_metrics_path(Path(monitoring)) if monitoring else None
        self._health: health.HealthServicer | None = None
        self._calls = CallInterceptor(options.grpc_threads)
        self._loader = ServableLoader(options)
        self._store = ModelStore(
            options.models,
            self._loader.load,
            options.poll_wait_s,
            options.max_load_retries,
            options.load_retry_interval_s,
            options.allow_labels_for_unavailable,
            options.num_load_threads,
        )
        self._config_poller: ConfigPoller | None = None
        if options.model_config_file is not None and options.model_config_poll_wait_s > 0:
            self._config_poller = ConfigPoller(options.model_config_file, options.model_config_poll_wait_s, self._store)
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
        if self._config_poller is not None:
            self._config_poller.start()
        if self._grpc is not None:
            self._grpc.start()
        if self._rest_socket is not None:
            self._start_rest(self._rest_socket)

    def stop(self, grace_s: float = 30.0) -> None:
        """Takes no more requests, finishes those that run, unloads the models.

        Args:
            grace_s: Requests still running after this time are cut off.
        """
        self._store.end_waits()
        self._loader.stop()
        if self._health is not None:
            self._health.enter_graceful_shutdown()
        stopped = self._grpc.stop(grace_s) if self._grpc is not None else None
        if self._rest is not None and self._rest_thread is not None:
            self._rest.config.timeout_graceful_shutdown = math.ceil(grace_s)
            self._rest.should_exit = True
            self._rest_thread.join()
        if self._grpc is not None and stopped is not None:
            # Who watches the health never ends his call.
            while not stopped.wait(_LOOK_S) and not (self._health is not None and self._calls.running() == 0):
                pass
            self._grpc.stop(_LAST_ANSWERS_S).wait()
        if self._rest_socket is not None:
            self._rest_socket.close()
        if self._config_poller is not None:
            self._config_poller.stop()
        self._store.close()
        self._loader.close()

    def _bind_grpc(self) -> grpc.Server:
        server = grpc.server(
            ThreadPoolExecutor(self._options.grpc_threads + SPARE_THREADS, thread_name_prefix="grpc"),
            interceptors=[self._calls],
            maximum_concurrent_rpcs=self._options.grpc_threads + MAX_WAITING_CALLS,
            options=[
                ("grpc.max_receive_message_length", self._options.max_request_bytes),
                ("grpc.max_send_message_length", _MAX_ANSWER_BYTES),
                # Without this two servers share one port and take turns in answering.
                ("grpc.so_reuseport", 0),
                *self._options.grpc_channel_arguments,
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(self._store, self._options.enable_signature_method_name_check), server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self._store), server)
        if self._options.enable_grpc_health:
            # On a thread of its own, so that a server under load is still seen to live.
            self._health = health.HealthServicer(True, ThreadPoolExecutor(1, thread_name_prefix="grpc-health"))
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        address = host_and_port(self._options.host, self._options.grpc_port or 0)
        try:
            if self._credentials is None:
                self.grpc_port = server.add_insecure_port(address)
            else:
                self.grpc_port = server.add_secure_port(address, self._credentials)
        except RuntimeError:
            self.grpc_port = 0
        if self.grpc_port == 0:
            raise self._bind_error(address)
        return server

    def _bind_error(self, address: str) -> UserError:
        reason = "the address was refused"
        try:
            with socket.socket(_family(self._options.host)) as probe:
                probe.bind((self._options.host, self._options.grpc_port or 0))
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            if self._credentials is not None:
                return TlsError(
                    f"{self._options.ssl_config_file}: gRPC refuses these keys; server_key, server_cert and custom_ca "
                    "must be PEM, and the key must be that of the certificate"
                )
        return AddressInUseError(
            f"cannot listen on {address} for gRPC: {reason}; choose another port or stop what uses it"
        )

    def _bind_rest(self) -> socket.socket:
        host, port = self._options.host, self._options.rest_port or 0
        # asyncio turns off Nagle's delay (40 ms an answer) only where the protocol is named.
        listener = socket.socket(_family(host), socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            if self._grpc is not None:
                self._grpc.stop(None)
            reason = f"{error.strerror}; choose another port or stop what uses it"
            raise AddressInUseError(f"cannot listen on {host_and_port(host, port)} for REST: {reason}") from None
        self.rest_port = listener.getsockname()[1]
        return listener

    def _start_rest(self, listener: socket.socket) -> None:
        app: ASGIApp = RestApp(
            self._store,
            self._options.rest_threads,
            self._options.max_request_bytes,
            self._options.rest_timeout_ms,
            self._options.rest_enable_cors,
            self._options.enable_signature_method_name_check,
        )
        app = RestLimit(app, self._options.rest_threads + MAX_WAITING_REQUESTS)
        if self._metrics_path is not None:
            app = MetricsEndpoint(app, self._metrics_path)
        config = uvicorn.Config(
            app,
            # Named, so that what else is installed changes nothing; TF Serving has no web sockets.
            http="h11",
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=60,
        )
        self._rest = uvicorn.Server(config)
        self._rest_thread = threading.Thread(
            target=self._rest.run, kwargs={"sockets": [listener]}, name="rest", daemon=True
        )
        self._rest_thread.start()
        while not self._rest.started and self._rest_thread.is_alive():
            time.sleep(0.01)


def host_and_port(host: str, port: int) -> str:
    """An address as it is written: brackets around a host that is an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
