"""Changing the list of models while requests run."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from serving.server.model_store import ModelStore
from serving.server.predictor import predict
from serving.server.servable import Servable
from serving.server.serving_error import Code, ServingError
from serving.server.version import State
from tests import store_support
from tests.store_support import POLL_S, Put, answer, code_of, config, running, states
from tests.waiting import until

exported, put = store_support.exported, store_support.put


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
