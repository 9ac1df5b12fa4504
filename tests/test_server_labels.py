"""Labels of versions while the list of models changes."""

import serving  # noqa: F401  # isort: skip - sets the environment that TensorFlow reads


import pytest

from serving.server.model_store import ModelStore
from serving.server.servable import Servable
from serving.server.serving_error import Code, ServingError
from serving.server.version import State
from tests import store_support
from tests.store_support import Put, answer, code_of, config, running, states
from tests.waiting import until

exported, put = store_support.exported, store_support.put


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
