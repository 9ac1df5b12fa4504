"""Every long-term interest module, chosen by configuration: trains, exports, serves, and sees no more than it may."""

import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tensorflow as tf

from model.config import InterestName
from model.errors import UserError
from model.export import export
from model.interest import CategoryError, category_feature
from model.load import load_ranker
from model.ranker import TwinRanker
from model.schema import load_schema
from serving.server.servable import Servable
from tests.rivals import rival_ranker
from tests.toy import ENCODERS, ITEM_IDS, KNOWN, NOW, SMALL, tensors, toy_ranker, toy_request, toy_schema

NAMES = get_args(InterestName)
NO_POSITIONS = {"avg_pooling", "dien", "mimn"}


@pytest.mark.parametrize("name", NAMES)
def test_trains_exports_and_serves_the_rankers_scores(name: str, tmp_path: Path) -> None:
    ranker = rival_ranker(name, recent_length=4)
    rng = np.random.default_rng(2)
    clustered = ranker.config.clustered
    window = {**toy_request(rng, clustered=clustered), "label": np.array([[0, 1, 0], [1, 1, 0]], np.float32)}
    window["weight"] = np.ones([2, 3], np.float32)
    ranker.compile(optimizer=ranker.optimizer_for_training())
    before = [v.numpy() for v in ranker.long_term.trainable_variables]
    step = ranker.train_step(tensors(window))
    assert np.isfinite(step["total_loss"])
    after = ranker.long_term.trainable_variables
    assert [(a != b).any() for a, b in zip(before, [v.numpy() for v in after], strict=True)].count(True) >= 3
    ranker.item_table.refresh(ranker.project_rows)

    export(ranker, toy_schema(), ENCODERS, np.arange(KNOWN), 1.0, tmp_path / "1")
    request = toy_request(rng, users=2, candidates=4, clustered=clustered)
    expected = ranker(tensors(request)).numpy()
    servable = Servable(tmp_path / "1")
    answer = _run(servable, "explain", request)
    np.testing.assert_allclose(answer["pctr"], expected, atol=1e-5)
    np.testing.assert_allclose(_run(servable, "serving_default", request)["pctr"], expected, atol=1e-5)
    retrieved = answer["retrieved/position"]
    assert retrieved.shape == (2, 4, 0 if name in NO_POSITIONS else 4 if name == "din" else SMALL.retrieved)
    assert answer["retrieved/attention"].shape[-1] == retrieved.shape[-1]
    for b, n, k in np.argwhere(retrieved >= 0):
        assert retrieved[b, n, k] < request["history/length"][b]
        item = request["history/item_id"][b, retrieved[b, n, k]]
        assert item == answer["retrieved/item_id"][b, n, k]
        assert item in ITEM_IDS  # a slot is never an unknown item's
    np.testing.assert_allclose(load_ranker(tmp_path / "1").ranker(tensors(request)), expected, atol=1e-5)


def _run(servable: Servable, signature: str, request: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    info = servable.signatures[signature]
    feeds = {info.inputs[name].name: value for name, value in request.items()}
    outputs = list(info.outputs)
    return dict(zip(outputs, servable.run(feeds, [info.outputs[name].name for name in outputs]), strict=True))


@pytest.fixture(scope="module", params=NAMES)
def ranker(request: pytest.FixtureRequest) -> TwinRanker:
    # MIMN's memory goes on through a window, so a target may remember more of it than a request would bring.
    length = 20 if request.param == "mimn" else 8
    return rival_ranker(request.param, recent_length=0 if request.param == "mimn" else 4, history_length=length)


def _window(rng: np.random.Generator, clustered: bool) -> dict[str, np.ndarray]:
    """One user with 20 behaviours and three targets that see the first 9, 12 and 12 of them."""
    raw = toy_request(rng, users=1, candidates=3, length=20, unknown=0.2, clustered=clustered)
    ends = np.array([[9, 12, 12]])
    return {
        **raw,
        "history/length": np.array([20]),
        "history/timestamp": NOW - 10**9 + 10**7 * np.arange(20)[np.newaxis],
        "candidate/history_end": ends,
        "request/timestamp": NOW - 10**9 + 10**7 * (ends - 1) + np.array([[5, 7, 10**8]]),
        "context/page_position": np.array([[1, 2, 3]]),
    }


def test_a_window_scores_each_target_as_a_request_at_its_time(ranker: TwinRanker) -> None:
    window = _window(np.random.default_rng(3), ranker.config.clustered)
    scores = ranker(tensors(window)).numpy()[0]
    for n, end in enumerate(window["candidate/history_end"][0]):
        request = {k: v[:, :end] if k.startswith("history/") and v.ndim == 2 else v for k, v in window.items()}
        del request["candidate/history_end"]
        request |= {"history/length": np.array([end]), "candidate/item_id": window["candidate/item_id"][:, [n]]}
        request |= {k: window[k][:, n] for k in ("request/timestamp", "context/page_position")}
        np.testing.assert_allclose(ranker(tensors(request)).numpy()[0, 0], scores[n], atol=1e-5)


def test_nothing_outside_its_own_history_reaches_a_target(ranker: TwinRanker) -> None:
    window = _window(np.random.default_rng(4), ranker.config.clustered)
    scores = ranker(tensors(window)).numpy()[0]
    changed = {k: v.copy() for k, v in window.items()}
    rng = np.random.default_rng(5)
    outside = [12, 13, 14, 15, 19] + ([] if ranker.config.history_length == 20 else [0, 1, 2, 3])
    changed["history/item_id"][0, outside] = rng.choice(ITEM_IDS, len(outside))
    changed["history/liked"][0, outside] = 2
    now = ranker(tensors(changed)).numpy()[0]
    np.testing.assert_array_equal(now[1:], scores[1:])  # these see 4 to 11 (MIMN: 0 to 11)
    changed = {k: v.copy() for k, v in window.items()}
    changed["history/item_id"][0, 9:] = rng.choice(ITEM_IDS, 11)
    np.testing.assert_array_equal(ranker(tensors(changed)).numpy()[0, 0], scores[0])  # this one 1 to 8 (MIMN: 0 to 8)


def test_every_weight_has_a_gradient(ranker: TwinRanker) -> None:
    window = _window(np.random.default_rng(7), ranker.config.clustered)
    window |= {"label": np.array([[0, 1, 1]], np.float32), "weight": np.ones([1, 3], np.float32)}
    with tf.GradientTape() as tape:
        loss = ranker.compute_loss(tensors(window), training=True)
    gradients = tape.gradient(loss, ranker.trainable_variables)
    assert not [v.name for v, gradient in zip(ranker.trainable_variables, gradients, strict=True) if gradient is None]


def test_an_empty_history_and_an_unknown_candidate_are_defined(ranker: TwinRanker) -> None:
    raw = toy_request(np.random.default_rng(6), clustered=ranker.config.clustered)
    raw["history/length"][:] = 0
    raw["candidate/item_id"][0, 0] = 999_999_999
    assert np.isfinite(ranker(tensors(raw))).all()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(ranker.logits(tensors(raw)))
    gradients = tape.gradient(loss, ranker.trainable_variables, unconnected_gradients="zero")
    assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)


def test_only_a_search_that_reads_arrays_has_them_in_its_table() -> None:
    held = {name: sorted(rival_ranker(name).item_table.search) for name in ("eta", "sim_soft", "sim_cluster_plus")}
    assert held == {"eta": [], "sim_soft": ["embedding"], "sim_cluster_plus": ["cluster"]}
    assert "search" not in vars(toy_ranker().item_table)  # an attribute would be an entry of TWIN's checkpoint


def test_the_category_is_the_first_list_or_narrow_categorical_feature() -> None:
    schema = toy_schema()
    assert category_feature(SMALL, schema) == "topics"
    single = dataclasses.replace(schema, inherent=tuple(f for f in schema.inherent if not f.multi_hot))
    with pytest.raises(CategoryError, match=r"has no category; set category_feature to one of \['author_id'\]"):
        category_feature(SMALL, single)
    narrow = dataclasses.replace(schema, inherent=load_schema("kuairand").inherent[:2])
    assert category_feature(SMALL, narrow) == "video_type"  # author_id is wide
    assert category_feature(dataclasses.replace(SMALL, category_feature="author_id"), schema) == "author_id"
    with pytest.raises(
        CategoryError, match=r"'duration_seconds' is no categorical .* it has \['author_id', 'topics'\]"
    ):
        category_feature(dataclasses.replace(SMALL, category_feature="duration_seconds"), schema)


def test_what_needs_twin_says_so() -> None:
    with pytest.raises(UserError, match="needs a model with interest: twin, got interest: eta"):
        _ = rival_ranker("eta").twin
