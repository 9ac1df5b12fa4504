"""All models of a server: polls their directories and hands out what is loaded."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from tensorflow_serving.config import model_server_config_pb2

from serving.server.model_config import check_models
from serving.server.servable import Servable
from serving.server.served_model import Loader, ServedModel, servable_not_found
from serving.server.serving_error import Code, ServingError, invalid
from serving.server.version import Version
from serving.server.version_labels import Labels, labels_of, version_of_label

_log = logging.getLogger(__name__)
_TICK_S = 1.0


class ModelStore:
    """Loads and unloads the versions of its models as their directories and the configuration change.

    Models that left the configuration are unloaded and keep their END states.

    Args:
        configs: The models.
        loader: Makes a ready servable from a version directory.
        poll_wait_s: Time between two looks at the disk; 0 = one look, and another when a model's configuration changes.
        max_load_retries: Further attempts after a failed load.
        retry_interval_s: Time between attempts.
        allow_labels_for_unavailable: A new label may name a version that is not available.
        num_load_threads: Models that load at the same time; 0 = one after the other.

    Raises:
        ServingError: INVALID_ARGUMENT, a name is listed twice, a base path is relative or a platform unsupported;
            FAILED_PRECONDITION, there are version labels and `allow_labels_for_unavailable` is not set.

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
        allow_labels_for_unavailable: bool = False,
        num_load_threads: int = 0,
    ) -> None:
        self._loader = loader
        self._poll_wait_s = poll_wait_s
        self._max_load_retries = max_load_retries
        self._retry_interval_s = retry_interval_s
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        # Requests read these two without the lock: they are replaced, never changed.
        self._models: dict[str, ServedModel] = {}
        self._labels: Labels = {}
        self._configuring = threading.Lock()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="model-store", daemon=True)
        self._loaders = ThreadPoolExecutor(max(1, num_load_threads), thread_name_prefix="loader")
        self._initial = self.configure(configs)

    def start(self) -> None:
        """Starts loading; returns at once."""
        self._thread.start()

    def wait_ready(self) -> None:
        """Waits until every model has an available version, for ever if its directory stays missing or empty.

        Raises:
            ServingError: UNKNOWN, models whose versions all failed to load; or CANCELLED, the store was closed.
        """
        self._wait_available(self._initial, "servable(s)")

    def configure(self, configs: Sequence[model_server_config_pb2.ModelConfig]) -> list[ServedModel]:
        """Replaces the list of models; loading and unloading begin at once and nothing is waited for.

        Args:
            configs: The whole new list.

        Returns:
            The models that were not served before.

        Raises:
            ServingError: As for the constructor; the old list stays.
        """
        with self._configuring:
            served = {name: model.config for name, model in self._models.items() if model.config is not None}
            check_models(configs, served)
            self._labels = labels_of(configs, self._labels, self._is_available, self._allow_labels_for_unavailable)
            names = {config.name for config in configs}
            fresh = {
                name: ServedModel(name, self._loader, self._max_load_retries, self._retry_interval_s)
                for name in names - self._models.keys()
            }
            self._models = {**self._models, **fresh}
            for config in configs:
                self._models[config.name].configure(config)
            for name in served.keys() - names:
                self._models[name].configure(None)
            self._wake.set()
            return [self._models[config.name] for config in configs if config.name not in served]

    def reload(
        self, configs: Sequence[model_server_config_pb2.ModelConfig], is_wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """Replaces the list of models, as a HandleReloadConfigRequest asks.

        Models that are no longer listed are unloaded after this has returned; models that are new are waited for, for
        ever if their directory stays missing or empty.

        Args:
            configs: The whole new list.
            is_wanted: Whether somebody still waits; asked again and again.

        Raises:
            ServingError: As for `configure`; UNKNOWN, a new model did not load (it stays listed, and a later version
                of it is loaded); ABORTED, a later configuration took a new model away; CANCELLED, the store was closed
                or nobody waits any more.
        """
        self._wait_available(self.configure(configs), "model(s)", is_wanted)

    @contextmanager
    def lease(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[tuple[int, Servable]]:
        """Keeps a version loaded while a request runs on it.

        Args:
            name: The model.
            version: Its version; None = the highest available.
            label: A version label, instead of the version.

        Yields:
            Version number and servable.

        Raises:
            ServingError: NOT_FOUND, no such model or version is available; INVALID_ARGUMENT, unknown label.
        """
        if not name:
            raise invalid("ModelSpec has no name specified.")
        if label is not None:
            version = version_of_label(self._labels, name, label)
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

    def end_waits(self) -> None:
        """Stops polling, and `wait_ready` and `reload` wait no longer; what is loaded goes on to serve."""
        self._stop.set()
        self._wake.set()

    def close(self) -> None:
        """Stops polling and unloads everything once the requests that run have ended."""
        self.end_waits()
        if self._thread.is_alive():
            self._thread.join()
        for model in self._models.values():
            model.configure(None)
        self._loaders.shutdown()
        for model in self._models.values():
            model.close()

    def _is_available(self, name: str, version: int) -> bool:
        return name in self._models and self._models[name].is_available(version)

    def _wait_available(
        self, models: Iterable[ServedModel], what: str, is_wanted: Callable[[], bool] = lambda: True
    ) -> None:
        def ended() -> bool:
            return self._stop.is_set() or not is_wanted()

        models = list(models)
        failed = [(model.name, version) for model in models for version in model.wait_settled(ended)]
        if ended():
            raise ServingError(Code.CANCELLED, "stopped before a model was available")
        if failed:
            reasons = "".join(
                f"{{{{name: {name} version: {version.number}}} due to error: {version.error}}}, "
                for name, version in failed
            )
            raise ServingError(Code.UNKNOWN, f"{len(failed)} {what} did not become available: {{{reasons}}}")
        for model in models:
            if model.config is None:
                raise ServingError(Code.ABORTED, f"a later configuration took model {model.name} away")

    def _poll(self) -> None:
        running: dict[str, Future[None]] = {}
        while not self._stop.is_set():
            self._wake.clear()
            for name, model in self._models.items():
                if name not in running or running[name].done():
                    running[name] = self._loaders.submit(self._reconcile, model)
            self._wake.wait(self._poll_wait_s or _TICK_S)

    def _reconcile(self, model: ServedModel) -> None:
        try:
            model.reconcile(look=self._poll_wait_s > 0)
        except Exception:
            # What goes wrong with one model must not end the polling of it.
            _log.exception("bringing %s up to date failed", model.name)
