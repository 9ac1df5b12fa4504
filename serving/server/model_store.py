"""All models of a server: polls their directories and hands out what is loaded."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tensorflow_serving.config import model_server_config_pb2

from serving.server.servable import Servable
from serving.server.served_model import Loader, ServedModel, Version, servable_not_found
from serving.server.status import Code, ServingError, invalid

_log = logging.getLogger(__name__)


class ModelStore:
    """Loads and unloads the versions of its models as their directories change.

    Args:
        configs: The models.
        loader: Makes a ready servable from a version directory.
        poll_wait_s: Time between two looks at the disk.
        max_load_retries: Further attempts after a failed load.
        retry_interval_s: Time between attempts.

    Example:
        >>> store = ModelStore(configs, loader)            # doctest: +SKIP
        >>> store.start()                                  # doctest: +SKIP
        >>> with store.lease("twin") as (version, model):  # doctest: +SKIP
        ...     ...
    """

    def __init__(
        self,
        configs: Sequence[model_server_config_pb2.ModelConfig],
        loader: Loader,
        poll_wait_s: float = 1.0,
        max_load_retries: int = 5,
        retry_interval_s: float = 60.0,
    ) -> None:
        self._models = {
            config.name: ServedModel(config, loader, max_load_retries, retry_interval_s) for config in configs
        }
        self._poll_wait_s = poll_wait_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="model-store", daemon=True)

    def start(self) -> None:
        """Starts loading; returns at once."""
        self._thread.start()

    def wait_ready(self) -> None:
        """Waits until every model has an available version, for ever if its directory stays empty.

        Raises:
            ServingError: UNKNOWN, models whose versions all failed to load; or CANCELLED, the store was closed.
        """
        failed = {name: model.wait_settled(self._stop) for name, model in self._models.items()}
        if self._stop.is_set():
            raise ServingError(Code.CANCELLED, "stopped before a model was available")
        errors = [(name, version) for name, versions in failed.items() for version in versions]
        if errors:
            reasons = "; ".join(
                f"{{{name}, {version.number}}} due to error: {version.error}" for name, version in errors
            )
            raise ServingError(Code.UNKNOWN, f"{len(errors)} servable(s) did not become available: {{{reasons}}}")

    @contextmanager
    def lease(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[tuple[int, Servable]]:
        """Keeps a version loaded while a request runs on it.

        Args:
            name: The model.
            version: Its version; None = the highest available.
            label: A version label.

        Yields:
            Version number and servable.

        Raises:
            ServingError: NOT_FOUND, no such model or version is available; INVALID_ARGUMENT, unknown label.
        """
        if not name:
            raise invalid("ModelSpec has no name specified.")
        if label is not None:
            raise invalid(f"Unrecognized servable version label: {label}")
        model = self._models.get(name)
        if model is None:
            raise servable_not_found(name, version)
        with model.lease(version) as leased:
            yield leased

    def statuses(self, name: str, version: int | None = None) -> list[Version]:
        """The states of one version, or of all versions of a model, highest first.

        Raises:
            ServingError: NOT_FOUND, nothing of the kind is known.
        """
        model = self._models.get(name)
        known = model.statuses() if model is not None else []
        if version is not None:
            known = [one for one in known if one.number == version]
            if not known:
                raise ServingError(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
        if not known:
            raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        return known

    def close(self) -> None:
        """Stops polling and unloads everything once the requests that run have ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for model in self._models.values():
            model.close()

    def _poll(self) -> None:
        while not self._stop.is_set():
            for model in self._models.values():
                try:
                    model.reconcile()
                except Exception:
                    # One unreadable directory must not end the polling of all models.
                    _log.exception("polling %s failed", model.config.base_path)
            self._stop.wait(self._poll_wait_s)
