"""Makes a version directory into a servable that is ready for requests."""

import logging
import threading
import time
from pathlib import Path

import tensorflow as tf

from serving.server.batch_scheduler import BatchScheduler
from serving.server.batching_parameters import model_batching_parameters, server_batching_parameters
from serving.server.metrics import LOAD_ATTEMPT_COUNT, LOAD_LATENCY, WARMUP_LATENCY
from serving.server.options import ServerOptions
from serving.server.servable import Servable
from serving.server.serving_error import ServingError
from serving.server.warm_up import warm_up

_log = logging.getLogger(__name__)


class ServableLoader:
    """Loads, sets up batching where it is on, and warms up.

    Args:
        options: The server's options.

    Raises:
        ServingError: INVALID_ARGUMENT, batching parameters that contradict the options or each other.
        TextProtoError: The batching parameters' file cannot be read or parsed.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._session_config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=options.intra_op_threads, inter_op_parallelism_threads=options.inter_op_threads
        )
        self._batching = server_batching_parameters(options.enable_batching, options.batching_parameters_file)
        self._stopped = threading.Event()
        self._scheduler = BatchScheduler(self._batching.num_batch_threads) if self._batching else None

    def load(self, path: Path) -> Servable:
        """Loads a version.

        Raises:
            ServingError: It cannot be loaded, its batching parameters are wrong, or a warm-up request failed.
        """
        servable = self._load(path)
        try:
            self._set_up_batching(servable)
            if self._options.enable_warmup:
                self._warm_up(servable)
        except BaseException:
            servable.close()
            raise
        return servable

    def stop(self) -> None:
        """Ends the warm-up that runs, and with it the load: nobody waits for it any more."""
        self._stopped.set()

    def close(self) -> None:
        """Ends the batching threads; to be called when every servable is closed."""
        if self._scheduler is not None:
            self._scheduler.close()

    def _load(self, path: Path) -> Servable:
        began = time.monotonic()
        try:
            servable = Servable(path, self._session_config)
        except BaseException:
            LOAD_ATTEMPT_COUNT.increment(str(path), "fail")
            raise
        LOAD_ATTEMPT_COUNT.increment(str(path), "success")
        LOAD_LATENCY.increment(str(path), by=int((time.monotonic() - began) * 1e6))
        return servable

    def _set_up_batching(self, servable: Servable) -> None:
        if self._scheduler is None:
            return
        parameters = self._batching
        if self._options.enable_per_model_batching_parameters:
            parameters = model_batching_parameters(servable.path)
        if parameters is not None:
            servable.merge_requests(self._scheduler, parameters)

    def _warm_up(self, servable: Servable) -> None:
        began = time.monotonic()
        status, count = "OK", 0
        try:
            check_method = self._options.enable_signature_method_name_check
            count = warm_up(servable, self._options.warmup_iterations, check_method, self._stopped.is_set)
        except ServingError as error:
            status = error.code.name
            raise
        finally:
            seconds = time.monotonic() - began
            if count or status != "OK":
                WARMUP_LATENCY.add(int(seconds * 1e6), str(servable.path), status)
        if count:
            _log.info("replayed %d warm-up requests of %s in %.1f s", count, servable.path, seconds)
