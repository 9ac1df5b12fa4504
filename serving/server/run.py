"""Runs a server until it is told to stop."""

import signal
import threading
from collections.abc import Callable
from types import FrameType

from serving.server.model_server import ModelServer
from serving.server.options import ServerOptions
from serving.server.status import Code, ServingError


def run_until_stopped(options: ServerOptions, on_ready: Callable[[ModelServer], None]) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what runs and returns.

    Must be called from the main thread.

    Args:
        options: Models, addresses and limits.
        on_ready: Called once requests are answered.

    Raises:
        AddressInUseError: A port is taken.
        ServingError: A model's versions failed to load.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    server = ModelServer(options)
    failure: list[ServingError] = []

    def start() -> None:
        try:
            server.start()
        except ServingError as error:
            failure.append(error)
            stop.set()
        else:
            on_ready(server)

    # Loading may take long; signals must be heard meanwhile, and Python hears them in the main thread.
    starter = threading.Thread(target=start, name="starter", daemon=True)
    starter.start()
    while not stop.wait(0.5):
        pass
    server.stop()
    starter.join()
    if failure and failure[0].code is not Code.CANCELLED:
        raise failure[0]
