"""Changing the list of models while requests run: reload, labels, the polled configuration file."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import gc
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.publisher import publish
from serving.server.config_poller import ConfigPoller
from serving.server.model_store import ModelStore
from serving.server.predictor import predict
from serving.server.servable import Servable
from serving.server.status import Code, ServingError
from serving.server.version import State
from tests.waiting import until

POLL_S = 0.02
Config: TypeAlias = model_server_config_pb2.ModelConfig


class Scale(tf.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = tf.Variable(factor)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def scale(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x * self.factor}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    out = {}
    for factor in (2.0, 3.0):
        out[factor] = tmp_path_factory.mktemp("exported") / "1"
        module = Scale(factor)
        tf.saved_model.save(module, str(out[factor]), signatures={"serving_default": module.scale})
    # Every unload collects garbage: half a second over all that TensorFlow has imported.
    gc.freeze()
    return out


Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path, exported: dict[float, Path]) -> Put:
    """Publishes a version of the model in a directory of that name."""

    def build(name: str, factor: float = 2.0) -> Path:
        def copy(path: Path) -> None:
            shutil.copytree(exported[factor], path, dirs_exist_ok=True)

        publish(tmp_path / name, copy)
        return tmp_path / name

    return build


def config(name: str, base_path: Path | str, policy: str = "", **labels: int) -> Config:
    out = text_format.Parse(policy and f"model_version_policy {{ {policy} }}", Config())
    out.name, out.base_path, out.model_platform = name, str(base_path), "tensorflow"
    out.version_labels.update(labels)
    return out


@contextmanager
def running(*configs: Config, wait: bool = True, **options: Any) -> Iterator[ModelStore]:
    store = ModelStore(configs, Servable, POLL_S, 0, 0.05, **options)
    store.start()
    try:
        if wait:
            store.wait_ready()
        yield store
    finally:
        store.close()


def answer(store: ModelStore, name: str, version: int | None = None, label: str | None = None) -> tuple[int, float]:
    with store.lease(name, version, label) as (number, servable):
        outputs = predict(servable, servable.signatures["serving_default"], {"x": np.array([1.0], np.float32)})
    return number, float(outputs["y"][0])


def states(store: ModelStore, name: str) -> dict[int, State]:
    try:
        return {version.number: version.state for version in store.statuses(name)}
    except ServingError:
        return {}


def code_of(call: Callable[[], object]) -> tuple[Code, str]:
    with pytest.raises(ServingError) as raised:
        call()
    return raised.value.code, raised.value.message


def test_reload_replaces_the_whole_list(put: Put) -> None:
    one, two = config("one", put("one")), config("two", put("two", 3.0))
    with running(one) as store:
        store.reload([two])
        # A new model is available as soon as the call returns; the absent one goes in its own time.
        assert answer(store, "two") == (1, 3.0)
        until(lambda: states(store, "one") == {1: State.END})
        assert code_of(lambda: answer(store, "one")) == (Code.NOT_FOUND, "Servable not found for request: Latest(one)")
        store.reload([one, two])
        assert answer(store, "one") == (1, 2.0)
        store.reload([])
        until(lambda: states(store, "one") == states(store, "two") == {1: State.END})


def test_a_request_keeps_a_model_that_left_the_list(put: Put) -> None:
    with running(config("one", put("one"))) as store:
        with store.lease("one") as (_, servable):
            store.reload([])
            until(lambda: states(store, "one") == {1: State.UNLOADING})
            x = {"x": np.array([4.0], np.float32)}
            assert predict(servable, servable.signatures["serving_default"], x)["y"].tolist() == [8.0]
        until(lambda: states(store, "one") == {1: State.END})


def test_reload_waits_for_new_models_and_tells_why_one_failed(put: Put, tmp_path: Path) -> None:
    one = config("one", put("one"))
    (tmp_path / "bad" / "5").mkdir(parents=True)
    bad = config("bad", tmp_path / "bad")
    with running(one) as store:
        code, message = code_of(lambda: store.reload([one, bad]))
        assert code is Code.UNKNOWN
        assert message.startswith(
            "1 model(s) did not become available: {{{name: bad version: 5} due to error: NOT_FOUND: Could not find"
        )
        assert answer(store, "one") == (1, 2.0)
        # The model stays listed: a good version of it is loaded.
        put("bad")
        until(lambda: states(store, "bad") == {6: State.AVAILABLE, 5: State.END})


def test_reload_waits_for_the_first_version_until_another_configuration_comes(put: Put, tmp_path: Path) -> None:
    one, later = config("one", put("one")), config("later", tmp_path / "later")
    with running(one) as store:
        results: list[object] = []

        def reload() -> None:
            try:
                store.reload([one, later])
                results.append("done")
            except ServingError as error:
                results.append(error)

        for expected in ("taken away", "published"):
            waiting = threading.Thread(target=reload)
            waiting.start()
            until(lambda: "later" in store._models and store._models["later"].config is not None)
            time.sleep(0.1)
            assert waiting.is_alive()
            if expected == "taken away":
                store.reload([one])
            else:
                put("later")
            waiting.join(60)
            assert not waiting.is_alive()
        aborted, done = results
        assert isinstance(aborted, ServingError) and aborted.code is Code.ABORTED
        assert done == "done"
        assert answer(store, "later") == (1, 2.0)


def test_a_server_that_stops_ends_the_wait_of_a_reload(put: Put, tmp_path: Path) -> None:
    one = config("one", put("one"))
    with running(one) as store:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(store.reload, [one, config("later", tmp_path / "later")])
            until(waiting.running)
            store.end_waits()
            error = waiting.exception(60)
        assert isinstance(error, ServingError) and error.code is Code.CANCELLED
        assert answer(store, "one") == (1, 2.0)


def test_a_refused_list_changes_nothing(put: Put) -> None:
    one = config("one", put("one"), stable=1)
    with running(one, allow_labels_for_unavailable=True) as store:
        assert code_of(lambda: store.reload([config("two", "relative")]))[0] is Code.INVALID_ARGUMENT
        assert code_of(lambda: store.reload([config("one", one.base_path), config("two", "/m", x=1), one]))[0] is (
            Code.INVALID_ARGUMENT
        )
        time.sleep(5 * POLL_S)
        assert answer(store, "one", label="stable") == (1, 2.0)


def test_policy_changes_and_a_moved_base_path(put: Put) -> None:
    for factor in (2.0, 3.0, 2.0):
        base = put("one", factor)
    available = State.AVAILABLE
    with running(config("one", base)) as store:
        assert states(store, "one") == {3: available}
        store.reload([config("one", base, "specific { versions: 1 versions: 2 }")])
        until(lambda: states(store, "one") == {3: State.END, 2: available, 1: available})
        assert answer(store, "one") == (2, 3.0)
        store.reload([config("one", base, "all {}")])
        until(lambda: states(store, "one") == {3: available, 2: available, 1: available})
        # A version that is loaded stays; another number under the new path replaces it.
        moved = put("moved", 3.0)
        store.reload([config("one", moved, "specific { versions: 1 }")])
        until(lambda: states(store, "one") == {3: State.END, 2: State.END, 1: available})
        assert answer(store, "one") == (1, 2.0)
        store.reload([config("one", moved)])
        put("moved", 3.0)
        until(lambda: states(store, "one")[2] is available and states(store, "one")[1] is State.END)
        assert answer(store, "one") == (2, 3.0)


def test_a_lost_base_path_unloads_nothing_and_an_emptied_one_everything(put: Put, tmp_path: Path) -> None:
    base = put("one")
    with running(config("one", base)) as store:
        base.rename(tmp_path / "away")
        time.sleep(10 * POLL_S)
        assert states(store, "one") == {1: State.AVAILABLE}
        (tmp_path / "away").rename(base)
        (base / "1").rename(tmp_path / "gone")
        until(lambda: states(store, "one") == {1: State.END})
        (tmp_path / "gone").rename(base / "1")
        until(lambda: states(store, "one") == {1: State.AVAILABLE})


def test_swaps_under_load_fail_no_request_and_mix_no_versions(put: Put) -> None:
    # Odd versions double, even ones triple.
    base = put("one", 2.0)
    with running(config("one", base)) as store:
        stop = threading.Event()
        wrong: list[object] = []
        served: set[int] = set()

        def ask() -> None:
            while not stop.is_set():
                try:
                    number, value = answer(store, "one")
                except ServingError as error:
                    wrong.append(error)
                    return
                served.add(number)
                if value != (2.0 if number % 2 else 3.0):
                    wrong.append((number, value))

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        for number in range(2, 7):
            put("one", 2.0 if number % 2 else 3.0)
            until(lambda: number in served)  # noqa: B023
        for number in range(6, 1, -1):
            (base / str(number)).rename(base / f".gone-{number}")
            until(lambda: states(store, "one")[number - 1] is State.AVAILABLE)  # noqa: B023
        stop.set()
        for asker in askers:
            asker.join()
        assert wrong == []
        assert served == set(range(1, 7))
        until(lambda: list(states(store, "one").values()) == [State.END] * 5 + [State.AVAILABLE])


def test_labels_name_available_versions_only(put: Put) -> None:
    put("one", 2.0)
    base = put("one", 3.0)
    unavailable = (
        Code.FAILED_PRECONDITION,
        "Request to assign label to version 2 of model one, which is not currently available for inference",
    )
    labelled = config("one", base, "all {}", stable=1, canary=2)
    with pytest.raises(ServingError, match="FAILED_PRECONDITION: Request to assign label to version"):
        ModelStore([labelled], Servable)
    with running(config("one", base, "specific { versions: 1 }")) as store:
        assert code_of(lambda: answer(store, "one", label="stable")) == (
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: stable",
        )
        one = "specific { versions: 1 }"
        assert code_of(lambda: store.reload([config("one", base, one, stable=2)])) == unavailable
        store.reload([config("one", base, one, stable=1)])
        assert answer(store, "one", label="stable") == (1, 2.0)
        # Loading a version and labelling it takes two steps; meanwhile the old labels hold.
        assert code_of(lambda: store.reload([labelled])) == unavailable
        assert answer(store, "one", label="stable") == (1, 2.0)
        store.reload([config("one", base, "all {}", stable=1)])
        until(lambda: len(states(store, "one")) == 2 and states(store, "one")[2] is State.AVAILABLE)
        store.reload([labelled])
        assert answer(store, "one", label="canary") == (2, 3.0)
        store.reload([config("one", base, "all {}")])
        assert code_of(lambda: answer(store, "one", label="stable"))[0] is Code.INVALID_ARGUMENT
    assert code_of(lambda: store.lease("nobody", label="stable").__enter__())[1].endswith("label: stable")


def test_new_labels_for_unavailable_versions_where_allowed(put: Put) -> None:
    base = put("one", 2.0)
    with running(config("one", base, "all {}", next=2), allow_labels_for_unavailable=True) as store:
        assert code_of(lambda: answer(store, "one", label="next")) == (
            Code.NOT_FOUND,
            "Servable not found for request: Specific(one, 2)",
        )
        # A label that is there moves to an available version only.
        assert code_of(lambda: store.reload([config("one", base, "all {}", next=3)]))[0] is Code.FAILED_PRECONDITION
        put("one", 3.0)
        until(lambda: states(store, "one").get(2) is State.AVAILABLE)
        assert answer(store, "one", label="next") == (2, 3.0)
        store.reload([config("one", base, "all {}", next=1)])
        assert answer(store, "one", label="next") == (1, 2.0)


def test_a_name_is_never_a_path(put: Put, tmp_path: Path) -> None:
    base = put("one")
    names = ["../one", "one/../one", str(base), "..", "one/1"]
    with running(config("one", base), config("../../etc", put("two", 3.0))) as store:
        for name in names:
            assert code_of(lambda: answer(store, name))[0] is Code.NOT_FOUND  # noqa: B023
            assert code_of(lambda: store.statuses(name))[0] is Code.NOT_FOUND  # noqa: B023
        assert answer(store, "../../etc") == (1, 3.0)


def test_one_look_where_polling_is_off(put: Put, tmp_path: Path) -> None:
    base = put("one")
    store = ModelStore([config("one", base)], Servable, 0.0, 0)
    store.start()
    try:
        store.wait_ready()
        put("one", 3.0)
        time.sleep(1.2)
        assert states(store, "one") == {1: State.AVAILABLE}
        store.reload([config("one", base, "all {}")])
        until(lambda: states(store, "one") == {2: State.AVAILABLE, 1: State.AVAILABLE})
    finally:
        store.close()


def test_models_load_at_the_same_time_where_asked(put: Put) -> None:
    together = threading.Barrier(2)

    def load(path: Path) -> Servable:
        together.wait(60)
        return Servable(path)

    store = ModelStore([config("one", put("one")), config("two", put("two"))], load, POLL_S, 0, num_load_threads=2)
    store.start()
    try:
        store.wait_ready()
        assert answer(store, "one") == answer(store, "two") == (1, 2.0)
    finally:
        store.close()


def test_the_configuration_file_is_read_again(put: Put, tmp_path: Path) -> None:
    file = tmp_path / "models.config"

    def write(*configs: Config) -> None:
        content = model_server_config_pb2.ModelServerConfig()
        content.model_config_list.config.extend(configs)
        file.write_text(text_format.MessageToString(content))

    one, two = config("one", put("one")), config("two", put("two", 3.0))
    write(one)
    with running(one) as store:
        poller = ConfigPoller(str(file), POLL_S, store)
        poller.start()
        try:
            for unusable in ("model_config_list {", ""):
                file.write_text(unusable)
                time.sleep(5 * POLL_S)
                assert answer(store, "one") == (1, 2.0)
            # The label is taken as soon as the version it names is available.
            write(two)
            until(lambda: states(store, "two") == {1: State.AVAILABLE})
            two.version_labels["stable"] = 1
            write(two)
            until(lambda: _labelled(store, "two", "stable"))
            until(lambda: states(store, "one") == {1: State.END})
        finally:
            poller.stop()


def _labelled(store: ModelStore, name: str, label: str) -> bool:
    try:
        return answer(store, name, label=label)[0] > 0
    except ServingError:
        return False


def test_a_model_that_comes_back_while_a_request_still_runs_on_it_is_loaded_anew(put: Put) -> None:
    one = config("one", put("one"))
    for poll_s in (POLL_S, 0.0):
        store = ModelStore([one], Servable, poll_s, 0)
        store.start()
        try:
            store.wait_ready()
            with store.lease("one"):
                store.reload([])
                until(lambda: states(store, "one") == {1: State.UNLOADING})  # noqa: B023
                waiting = threading.Thread(target=store.reload, args=([one],))
                waiting.start()
                time.sleep(5 * POLL_S)
                assert waiting.is_alive()
            waiting.join(60)
            assert answer(store, "one") == (1, 2.0)
        finally:
            store.close()
