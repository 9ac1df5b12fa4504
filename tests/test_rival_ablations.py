"""TWIN's ablations against plain loops."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.encoders import Encoders, Vocabulary
from model.export import servable_variables
from model.ranker import TwinRanker
from model.warm_start import warm_start
from tests.oracle import Oracle, union
from tests.rivals import rival_ranker
from tests.toy import ENCODERS, SMALL, tensors, toy_request, toy_schema

ENDS = [12, 12, 4]


@pytest.fixture(scope="module", params=["request", "window"])
def raw(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    """One user with 12 behaviours and three candidates: all at one time, or each at its own."""
    made = toy_request(np.random.default_rng(1), users=1, candidates=3)
    made["history/length"] = np.array([12])
    if request.param == "window":
        made["candidate/history_end"] = np.array([ENDS])
        made["request/timestamp"] = made["history/timestamp"][:, -1:] + np.array([[10**6, 10**9, 10**10]])
        made["context/page_position"] = np.array([[1, 2, 3]])
    return made


def at(raw: dict[str, np.ndarray], n: int) -> tuple[int, int]:
    """How much of the history candidate n sees, and when."""
    if "candidate/history_end" in raw:
        return ENDS[n], int(raw["request/timestamp"][0, n])
    return 12, int(raw["request/timestamp"][0])


def known(oracle: Oracle, raw: dict[str, np.ndarray], end: int) -> list[int]:
    return [i for i in range(end) if int(raw["history/item_id"][0, i]) in oracle.rows]


def ranked(alphas: dict[int, np.ndarray]) -> list[int]:
    """The heads' rankings united, K of them."""
    heads = range(SMALL.heads)
    return union([sorted(alphas, key=lambda i: -alphas[i][a]) for a in heads], SMALL.retrieved)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(x - x.max()) / np.exp(x - x.max()).sum())


def pooled(values: list[np.ndarray], alphas: list[np.ndarray], value: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Eq. 7 and 8, values projected first."""
    heads = []
    for a in range(SMALL.heads):
        weights = softmax(np.array([alpha[a] for alpha in alphas]))
        heads.append(sum(w * (k @ value[a]) for w, k in zip(weights, values, strict=True)))
    return np.concatenate(heads) @ output


def test_raw_mhta_equals_the_loop(raw: dict[str, np.ndarray]) -> None:
    ranker = rival_ranker("twin_raw_mhta")
    layer, oracle, d = ranker.long_term, Oracle(ranker), SMALL.head_dim
    whole = np.concatenate([layer.of_inherent.inherent_kernel, *layer.cross_kernels.values()])
    assert list(layer.cross_kernels) == ["play_seconds", "completion", "liked", "age"]
    assert whole.shape == (ranker.inherent.width + ranker.cross.width, SMALL.projection_dim)
    _, interest = ranker.score(tensors(raw))
    for n in range(3):
        end, time = at(raw, n)
        query = oracle.inherent(raw["candidate/item_id"][0, n]) @ layer.of_inherent.query_kernel.numpy()
        keys = {
            i: np.concatenate([oracle.inherent(raw["history/item_id"][0, i]), *oracle.cross(raw, 0, i, time).values()])
            for i in known(oracle, raw, end)
        }
        alphas = {i: ((k @ whole) * query).reshape(-1, d).sum(axis=1) / np.sqrt(d) for i, k in keys.items()}
        positions = ranked(alphas)
        assert [i for i in interest.position.numpy()[0, n] if i >= 0] == positions
        np.testing.assert_allclose(
            interest.attended.relevance.numpy()[0, n, :, : len(positions)].T, [alphas[i] for i in positions], atol=1e-4
        )
        expected = pooled(
            [keys[i] for i in positions],
            [alphas[i] for i in positions],
            layer.value_kernel.numpy(),
            layer.output_kernel.numpy(),
        )
        np.testing.assert_allclose(interest.attended.output[0, n], expected, atol=1e-4)


def test_raw_mhta_keeps_nothing_in_the_table() -> None:
    ranker = rival_ranker("twin_raw_mhta")
    assert not ranker.long_term.reads_projections
    assert not ranker.item_table.projection.numpy().any()


def test_without_bias_relevance_is_the_inner_product_in_both_stages(raw: dict[str, np.ndarray]) -> None:
    ranker = rival_ranker("twin_without_bias")
    layer, oracle = ranker.long_term, Oracle(ranker)
    assert layer.cp_gsu.relevance is layer.esu.relevance is layer.relevance
    _, interest = ranker.score(tensors(raw))
    for n in range(3):
        end, time = at(raw, n)
        target = oracle.inherent(raw["candidate/item_id"][0, n])
        items = {i: oracle.inherent(raw["history/item_id"][0, i]) for i in known(oracle, raw, end)}
        alphas = {i: oracle.alpha(layer.relevance, target, key, {}) for i, key in items.items()}
        positions = ranked(alphas)
        assert [i for i in interest.position.numpy()[0, n] if i >= 0] == positions
        np.testing.assert_allclose(
            interest.attended.relevance.numpy()[0, n, :, : len(positions)].T, [alphas[i] for i in positions], atol=1e-4
        )
        # The values keep the cross features.
        values = [np.concatenate([items[i], *oracle.cross(raw, 0, i, time).values()]) for i in positions]
        expected = pooled(
            values, [alphas[i] for i in positions], layer.esu.value_kernel.numpy(), layer.esu.output_kernel.numpy()
        )
        np.testing.assert_allclose(interest.attended.output[0, n], expected, atol=1e-4)


@pytest.fixture(scope="module")
def pair() -> TwinRanker:
    """TWIN without consistency and, in `auxiliary`, TWIN-aux."""
    return rival_ranker("twin_without_consistency")


def test_the_search_is_that_of_the_auxiliary_twin(pair: TwinRanker, raw: dict[str, np.ndarray]) -> None:
    assert pair.auxiliary is not None
    _, interest = pair.score(tensors(raw))
    _, of_auxiliary = pair.auxiliary.score(tensors(raw))
    np.testing.assert_array_equal(interest.position, of_auxiliary.position)
    # The attention is its own: other weights over the same behaviours.
    relevance = pair.long_term.relevance
    assert relevance is not pair.auxiliary.twin.relevance
    assert np.abs(interest.attended.output - of_auxiliary.attended.output).max() > 0.1
    np.testing.assert_allclose(
        pair.project_rows(tf.constant([3])), pair.auxiliary.project_rows(tf.constant([3])), atol=1e-7
    )


def _batch() -> dict[str, tf.Tensor]:
    raw = toy_request(np.random.default_rng(3), users=2, candidates=4)
    raw["label"] = (raw["candidate/item_id"] % 2).astype(np.float32)
    raw["weight"] = np.ones_like(raw["label"])
    return tensors(raw)


def test_the_auxiliary_twin_trains_as_it_would_alone(pair: TwinRanker) -> None:
    assert pair.auxiliary is not None
    own = {v.ref() for v in pair.trainable_variables} - {v.ref() for v in pair.auxiliary.trainable_variables}
    assert own and len(own) < len(pair.trainable_variables)
    batch = _batch()
    theirs, mine = pair.auxiliary.trainable_variables, [v for v in pair.trainable_variables if v.ref() in own]
    with tf.GradientTape() as tape:
        loss = pair.auxiliary.compute_loss(batch)
    *alone, of_mine = tape.gradient(loss, [*theirs, mine])
    assert all(gradient is None for gradient in of_mine)
    with tf.GradientTape() as tape:
        loss = pair.compute_loss(batch)
    for together, by_itself in zip(tape.gradient(loss, theirs), alone, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(together), tf.convert_to_tensor(by_itself), atol=1e-6)


def test_a_warm_start_takes_the_auxiliary_embeddings_by_value(pair: TwinRanker, tmp_path: Path) -> None:
    tf.saved_model.save(servable_variables(pair), str(tmp_path))
    (tmp_path / "assets.extra").mkdir()
    ENCODERS.save(tmp_path / "assets.extra" / "encoders.json")
    values = ENCODERS.features["inherent/author_id"].values
    turned = Encoders({**ENCODERS.features, "inherent/author_id": Vocabulary("int64", values[::-1])})  # type: ignore[arg-type]
    new = rival_ranker("twin_without_consistency", seed=2)
    warm_start(new, turned, tmp_path)
    name = "auxiliary/inherent/author_id"
    expected = pair.embeddings_by_name()[name].numpy()
    expected[2:] = expected[:1:-1]
    np.testing.assert_array_equal(new.embeddings_by_name()[name], expected)


def test_the_auxiliary_twin_is_a_twin_of_the_same_structure(pair: TwinRanker) -> None:
    assert pair.auxiliary is not None
    assert pair.auxiliary.config == dataclasses.replace(pair.config, interest="twin")
    assert pair.auxiliary.item_table is pair.item_table
    names = set(pair.embeddings_by_name())
    assert {f"auxiliary/{name}" for name in pair.auxiliary.embeddings_by_name()} <= names
    assert len(names) == 2 * len(pair.auxiliary.embeddings_by_name())
    assert [m.name for m in pair.metrics].count("auc") == 1


@pytest.mark.parametrize("name", ["eta", "twin_without_bias", "twin_without_consistency", "twin_raw_mhta"])
def test_attention_may_start_as_a_similarity_as_twins_may(name: str) -> None:
    layer = make_layer(name, similarity_start=2.0)
    relevance = layer.of_inherent if name == "twin_raw_mhta" else layer.relevance
    np.testing.assert_array_equal(relevance.query_kernel, relevance.inherent_kernel)
    assert relevance.inherent_kernel.numpy().any()


def make_layer(name: str, **options: float) -> tf.keras.layers.Layer:
    """The long-term interest module of a ranker with its initial weights."""
    config = dataclasses.replace(SMALL, interest=name, **options)  # type: ignore[arg-type]
    return TwinRanker(toy_schema(), ENCODERS, config, 5, {"topics": 2}).long_term
