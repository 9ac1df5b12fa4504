"""Runs a server until it is told to stop."""

import contextlib
import gc
import logging
import os
import queue
import signal
import threading
from collections.abc import Callable
from types import FrameType

from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions
from serving.server.serving_error import Code, ServingError

_log = logging.getLogger(__name__)
# Requests have 30 s of it.
_PATIENCE_S = 45.0


def run_until_stopped(
    options: ServerOptions, on_ready: Callable[[ModelServer], None], patience_s: float = _PATIENCE_S
) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what runs and returns.

    Must be called from the main thread.

    Args:
        options: Models, addresses and limits.
        on_ready: Called once requests are answered.
        patience_s: The process ends at the latest so long after the signal, with 0, whatever it does: an operation of
            TensorFlow that runs, or a table that is read, cannot be stopped.

    Raises:
        UserError: A port is taken, or a configuration file is wrong.
        ServingError: The list of models is refused, or a model's versions failed to load.
    """
    # What a signal's handler may use while the main thread waits on it; an Event could lock itself out.
    stop: queue.SimpleQueue[None] = queue.SimpleQueue()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.put(None)

    server = ModelServer(options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    failure: list[Exception] = []

    def start() -> None:
        try:
            server.start()
            on_ready(server)
        except Exception as error:
            # Raised again where the caller hears it.
            failure.append(error)
            stop.put(None)

    # Every unload collects garbage while requests wait: 0.4 s over all that TensorFlow has imported, 5 ms without that.
    gc.collect()
    gc.freeze()
    # Loading may take long; signals must be heard meanwhile, and Python hears them in the main thread.
    starter = threading.Thread(target=start, name="starter", daemon=True)
    starter.start()
    _wait(stop)
    watchdog = threading.Timer(patience_s, _give_up)
    watchdog.daemon = True
    watchdog.start()
    server.stop()
    starter.join()
    watchdog.cancel()
    for number in (signal.SIGTERM, signal.SIGINT):
        # All is done: another signal must not change the exit code.
        signal.signal(number, signal.SIG_IGN)
    if failure and not (isinstance(failure[0], ServingError) and failure[0].code is Code.CANCELLED):
        raise failure[0]


def _wait(stop: "queue.SimpleQueue[None]") -> None:
    while True:
        # A signal that reaches another thread does not wake this one, which alone runs the handler.
        with contextlib.suppress(queue.Empty):
            return stop.get(timeout=0.5)


def _give_up() -> None:
    _log.warning("what still runs is not waited for any longer")
    logging.shutdown()
    os._exit(0)
