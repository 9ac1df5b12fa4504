"""Malformed requests to a real servable by gRPC and REST: the status, the input's name, and a server that lives on."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from model.export import export
from serving.client import Client, PredictError
from serving.publisher import publish
from tests.server_models import served
from tests.toy import ENCODERS, ITEM_IDS, KNOWN, tensors, toy_ranker, toy_request, toy_schema

RAW = toy_request(np.random.default_rng(0), users=2, candidates=3, length=6)
ITEM = "history/item_id"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    folder = tmp_path_factory.mktemp("twin")
    publish(folder, lambda path: export(toy_ranker(), toy_schema(), ENCODERS, ITEM_IDS[:KNOWN], 1.0, path))
    with served(folder) as (_, grpc, rest):
        yield grpc, rest


@pytest.fixture(scope="module", params=["grpc", "rest"])
def client(request: pytest.FixtureRequest, servers: tuple[str, str]) -> Iterator[Client]:
    with Client(grpc=servers[0]) if request.param == "grpc" else Client(rest=servers[1]) as client:
        yield client


def changed(**inputs: Any) -> dict[str, Any]:
    return {**RAW, **{name.replace("__", "/"): values for name, values in inputs.items()}}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (changed(history__item_id=RAW[ITEM][0]), r"input .*history/item_id.*expected rank 2 \[B, L\]"),
        (changed(history__length=RAW["history/length"][:, None]), r"history/length.*expected rank 1 \[B\]"),
        (changed(candidate__item_id=ITEM_IDS[:3]), r"candidate/item_id.*expected rank 2 \[B, N\]"),
        (changed(request__timestamp=np.array(5)), r"request/timestamp.*expected rank 1 \[B\]"),
        (changed(history__liked=RAW["history/liked"][:, :5]), r"history/liked.*shape x differs.*history/item_id"),
        (changed(candidate__item_id=RAW["candidate/item_id"][:1]), r"candidate/item_id.*first dimension"),
        (changed(user__age_group=RAW["user/age_group"][:1]), r"user/age_group.*first dimension"),
        (changed(history__length=np.array([-1, 2])), r"history/length.*a length is negative"),
        (changed(history__length=np.array([7, 2])), r"history/length.*a length exceeds the padded width"),
        (changed(candidate__item_id=np.zeros((2, 2049), np.int64)), r"candidate/item_id.*exceeds the limit"),
    ],
)
def test_the_answer_names_the_input_and_what_was_expected(client: Client, request_: Any, message: str) -> None:
    with pytest.raises(PredictError, match=message) as caught:
        client.predict(request_)
    assert caught.value.code == "INVALID_ARGUMENT"
    assert client.predict(RAW).outputs["pctr"].shape == (2, 3)


def test_no_candidate_no_history_and_unknown_items_are_answered(client: Client) -> None:
    assert client.predict(changed(candidate__item_id=np.zeros((2, 0), np.int64))).outputs["pctr"].size == 0
    short = {n: v[:, :0] if n.startswith("history/") and v.ndim == 2 else v for n, v in RAW.items()}
    short["history/length"] = np.zeros(2, np.int64)
    unknown = changed(candidate__item_id=np.full((2, 2), -(2**62)), history__item_id=np.full_like(RAW[ITEM], 5))
    strange = changed(history__play_seconds=np.full((2, 6), np.nan, np.float32))
    for request_ in (short, unknown, strange):
        assert np.isfinite(client.predict(request_).outputs["pctr"]).all()


def test_scores_over_the_wire_are_the_models(client: Client) -> None:
    np.testing.assert_allclose(
        np.asarray(client.predict(RAW).outputs["pctr"], np.float32), toy_ranker()(tensors(RAW)), atol=1e-5
    )
