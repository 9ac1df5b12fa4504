"""Reads the model configuration file again and again."""

import logging
import threading

from model.errors import UserError
from serving.server.model_config import read_model_config
from serving.server.model_store import ModelStore
from serving.server.serving_error import ServingError

_log = logging.getLogger(__name__)


class ConfigPoller:
    """Applies a model configuration file whenever the wait is over; what it says replaces the whole list.

    A file that cannot be read or applied changes nothing and is tried again: a label that is given to a version which
    still loads is taken once it is available.

    Args:
        path: The `--model_config_file`.
        wait_s: Time between two looks.
        store: Whose models are configured.
    """

    def __init__(self, path: str, wait_s: float, store: ModelStore) -> None:
        self._path = path
        self._wait_s = wait_s
        self._store = store
        self._last_error = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="config-poller", daemon=True)

    def start(self) -> None:
        """Begins to look; the first time after one wait."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the looking."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._wait_s):
            error = self._apply()
            if error and error != self._last_error:
                _log.error("the model configuration stays as it is: %s", error)
            self._last_error = error

    def _apply(self) -> str:
        try:
            configs = read_model_config(self._path)
            if configs is None:
                return f"{self._path} holds no model_config_list (a list of nothing is written model_config_list {{}})"
            self._store.configure(configs)
        except (UserError, ServingError) as error:
            return str(error)
        return ""
