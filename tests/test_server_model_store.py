"""Versions: loading, swapping, failing, unloading."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads

import gc
import itertools
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from tensorflow_serving.config import model_server_config_pb2

from serving.publisher import publish
from serving.server.model_store import ModelStore
from serving.server.options import single_model
from serving.server.predictor import predict
from serving.server.servable import Servable
from serving.server.serving_error import Code, ServingError
from serving.server.version import State
from serving.server.warm_up import warm_up
from tests import store_support
from tests.server_models import export, exporter, warmup_record
from tests.store_support import POLL_S


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "1"
    export(path)
    # Every unload collects garbage: half a second over all that TensorFlow has imported.
    gc.freeze()
    return path


def copy(exported: Path) -> Callable[[Path], None]:
    def build(path: Path) -> None:
        shutil.copytree(exported, path, dirs_exist_ok=True)

    return build


def load_warm(path: Path) -> Servable:
    servable = Servable(path)
    warm_up(servable)
    return servable


def running(
    model_dir: Path, config: model_server_config_pb2.ModelConfig | None = None, retries: int = 0, wait: bool = True
) -> AbstractContextManager[ModelStore]:
    one = config or single_model("toy", str(model_dir))
    return store_support.running(one, load=load_warm, retries=retries, wait=wait)


def states(store: ModelStore) -> dict[int, State]:
    return store_support.states(store, "toy")


def wait_for(store: ModelStore, expected: dict[int, State]) -> None:
    end = time.monotonic() + 60
    while states(store) != expected and time.monotonic() < end:
        time.sleep(0.01)
    assert states(store) == expected


def error_of(store: ModelStore, number: int) -> ServingError:
    (version,) = store.statuses("toy", number)
    assert version.error is not None
    return version.error


def test_new_version_replaces_the_old_and_deleting_rolls_back(tmp_path: Path, exported: Path) -> None:
    publish(tmp_path, copy(exported))
    with running(tmp_path) as store:
        assert states(store) == {1: State.AVAILABLE}
        publish(tmp_path, copy(exported))
        wait_for(store, {2: State.AVAILABLE, 1: State.END})
        assert [version.number for version in store.statuses("toy")] == [2, 1]
        with store.lease("toy") as (number, _):
            assert number == 2
        with pytest.raises(ServingError, match=r"Specific\(toy, 1\)"), store.lease("toy", 1):
            pass
        shutil.rmtree(tmp_path / "2")
        wait_for(store, {2: State.END, 1: State.AVAILABLE})
        shutil.rmtree(tmp_path / "1")
        wait_for(store, {2: State.END, 1: State.END})
        with pytest.raises(ServingError, match=r"NOT_FOUND: .* Latest\(toy\)"), store.lease("toy"):
            pass


def test_a_running_request_keeps_its_version(tmp_path: Path, exported: Path) -> None:
    publish(tmp_path, copy(exported))
    with running(tmp_path) as store:
        with store.lease("toy") as (number, servable):
            publish(tmp_path, copy(exported))
            wait_for(store, {2: State.AVAILABLE, 1: State.UNLOADING})
            signature = servable.signatures["single"]
            answer = predict(servable, signature, {"x": np.array([1], np.float32)})
            assert number == 1
            np.testing.assert_array_equal(answer["y"], [2.0])
        wait_for(store, {2: State.AVAILABLE, 1: State.END})


def _data(path: Path) -> Path:
    (data,) = (path / "variables").glob("variables.data*")
    return data


def _truncate(path: Path) -> None:
    content = _data(path).read_bytes()
    _data(path).write_bytes(content[: len(content) // 2])


def _warmed(record: bytes) -> Callable[[Path], None]:
    return lambda path: export(path, warmup=record)


@pytest.mark.parametrize(
    ("damage", "code", "text"),
    [
        (_truncate, Code.OUT_OF_RANGE, "variables"),
        (lambda path: _data(path).write_bytes(b""), None, "variables"),
        (lambda path: _data(path).unlink(), Code.NOT_FOUND, "variables.data-00000-of-00001"),
        (lambda path: (path / "variables" / "variables.index").unlink(), Code.NOT_FOUND, "variables/variables"),
        (lambda path: (path / "saved_model.pb").unlink(), Code.NOT_FOUND, "Could not find SavedModel"),
        (lambda path: (path / "saved_model.pb").write_bytes(b"\xff" * 99), Code.DATA_LOSS, "Can't parse"),
        (lambda path: (path / "saved_model.pb").write_bytes(b""), Code.NOT_FOUND, "tags: { serve }"),
        (_warmed(warmup_record([[1, 2]], [-1])), Code.INVALID_ARGUMENT, "must not be negative"),
        (
            _warmed(warmup_record([[1, 2]], [1], "score")),
            Code.FAILED_PRECONDITION,
            'Serving signature key "score" not found.',
        ),
        (
            _warmed(warmup_record([[1, 2]], [1], "single")),
            Code.INVALID_ARGUMENT,
            "Sent extra: {history/length}. Missing but required: {}",
        ),
        (_warmed(b"junk\xff"), Code.INVALID_ARGUMENT, "record 0 is no PredictionLog"),
    ],
    ids=[
        "truncated variables",
        "empty variables",
        "missing variables",
        "missing index",
        "missing graph",
        "garbage graph",
        "empty graph",
        "warm-up fails",
        "warm-up asks for a signature that is not there",
        "warm-up asks with other inputs",
        "warm-up garbage",
    ],
)
def test_broken_version_leaves_the_old_one_and_the_next_good_one_loads(
    tmp_path: Path, exported: Path, damage: Callable[[Path], object], code: Code | None, text: str
) -> None:
    def broken(path: Path) -> None:
        copy(exported)(path)
        damage(path)

    publish(tmp_path, copy(exported))
    with running(tmp_path) as store:
        publish(tmp_path, broken)
        wait_for(store, {2: State.END, 1: State.AVAILABLE})
        error = error_of(store, 2)
        assert code in (None, error.code)
        assert text in error.message
        publish(tmp_path, copy(exported))
        wait_for(store, {3: State.AVAILABLE, 2: State.END, 1: State.END})
        assert error_of(store, 2) is error


def test_retries_and_the_newer_version_does_not_wait_for_them(tmp_path: Path, exported: Path) -> None:
    publish(tmp_path, copy(exported))
    with running(tmp_path, retries=10_000) as store:
        publish(tmp_path, lambda path: (path / "notes").touch())
        wait_for(store, {2: State.LOADING, 1: State.AVAILABLE})
        (version,) = store.statuses("toy", 2)
        end = time.monotonic() + 60
        while version.failed_loads <= 1 and time.monotonic() < end:
            time.sleep(0.01)
        assert version.failed_loads > 1
        publish(tmp_path, copy(exported))
        wait_for(store, {3: State.AVAILABLE, 2: State.END, 1: State.END})


def test_a_load_is_tried_again_as_often_and_as_late_as_told(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    attempts: list[float] = []

    def load(path: Path) -> Servable:
        attempts.append(time.monotonic())
        return Servable(path)

    store = ModelStore([single_model("toy", str(tmp_path))], load, POLL_S, 2, 0.2)
    store.start()
    try:
        with pytest.raises(ServingError, match=r"\{name: toy version: 7\} due to error: NOT_FOUND"):
            store.wait_ready()
        time.sleep(0.3)
        assert len(attempts) == 1 + 2
        assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(attempts))
        assert states(store) == {7: State.END}
    finally:
        store.close()


def test_repaired_version_loads_after_it_was_deleted(tmp_path: Path, exported: Path) -> None:
    publish(tmp_path, copy(exported))
    with running(tmp_path) as store:
        publish(tmp_path, lambda path: (path / "notes").touch())
        wait_for(store, {2: State.END, 1: State.AVAILABLE})
        shutil.rmtree(tmp_path / "2")
        time.sleep(10 * POLL_S)
        assert states(store) == {2: State.END, 1: State.AVAILABLE}
        publish(tmp_path, copy(exported))
        wait_for(store, {2: State.AVAILABLE, 1: State.END})


def test_start_fails_when_no_version_loads(tmp_path: Path) -> None:
    (tmp_path / "4").mkdir()
    with running(tmp_path, wait=False) as store, pytest.raises(ServingError) as raised:
        store.wait_ready()
    assert raised.value.code is Code.UNKNOWN
    assert raised.value.message.startswith(
        "1 servable(s) did not become available: {{{name: toy version: 4} due to error: NOT_FOUND"
    )


def test_empty_directory_is_waited_for(tmp_path: Path, exported: Path) -> None:
    model_dir = tmp_path / "later"
    with running(model_dir, wait=False) as store:
        ready = threading.Thread(target=store.wait_ready)
        ready.start()
        time.sleep(0.1)
        assert ready.is_alive()
        publish(model_dir, copy(exported))
        ready.join(60)
        assert not ready.is_alive()


def test_closing_ends_the_wait(tmp_path: Path) -> None:
    with running(tmp_path, wait=False) as store:
        failure: list[ServingError] = []

        def wait() -> None:
            try:
                store.wait_ready()
            except ServingError as error:
                failure.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        store.close()
        thread.join(60)
        assert failure[0].code is Code.CANCELLED


def test_version_policies(tmp_path: Path, exported: Path) -> None:
    for _ in range(3):
        publish(tmp_path, copy(exported))
    config = single_model("toy", str(tmp_path))
    config.model_version_policy.all.SetInParent()
    with running(tmp_path, config) as store:
        assert states(store) == {1: State.AVAILABLE, 2: State.AVAILABLE, 3: State.AVAILABLE}
        with store.lease("toy", 2) as (number, _):
            assert number == 2
    config.model_version_policy.latest.num_versions = 2
    with running(tmp_path, config) as store:
        assert states(store) == {2: State.AVAILABLE, 3: State.AVAILABLE}
    config.model_version_policy.specific.versions[:] = [1, 3, 9]
    with running(tmp_path, config) as store:
        assert states(store) == {1: State.AVAILABLE, 3: State.AVAILABLE}


def test_warm_up_counts_records(tmp_path: Path) -> None:
    exporter(2.0, warmup_record([[1, 2]], [1]))(tmp_path / "1")
    assert warm_up(Servable(tmp_path / "1")) == 1
