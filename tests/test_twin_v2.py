"""TWIN-V2's cluster-aware relevance, alpha' = alpha + ln n, and the way of the sizes from an Example to the score."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from model.consistency import measure
from model.cp_gsu import rank_union
from model.export import export
from model.ranker import TwinRanker
from model.signatures import Signatures
from model.windows import window_dataset
from serving.client import Client, PredictError
from serving.publisher import publish
from serving.server.servable import Servable
from tests.oracle import Oracle
from tests.server_models import served
from tests.test_esu import one_head
from tests.toy import ENCODERS, ITEM_IDS, KNOWN, NOW, SMALL, tensors, toy_ranker, toy_request, toy_schema
from tests.training_data import user_row, write

V2 = dataclasses.replace(SMALL, interest="twin_v2")
SIZE = "history/cluster_size"


@pytest.fixture(scope="module")
def ranker() -> TwinRanker:
    return toy_ranker(V2)


def clustered_request(seed: int, **options: Any) -> dict[str, np.ndarray]:
    return toy_request(np.random.default_rng(seed), clustered=True, **options)


def test_alpha_plus_ln_n_by_hand() -> None:
    esu, history = one_head()
    history = dataclasses.replace(history, log_size=tf.math.log([[4.0, 1.0]]))
    query = tf.constant([[[[0.5]]]])
    attended = esu(query, history, tf.constant([[[1, 0]]]), {})
    # alpha = 0.5 * (3, 1); with ln n of sizes (1, 4): softmax = (e, 4) / (e + 4); output = softmax . (3, 1) * 2 * 10.
    e = np.exp(1.0)
    np.testing.assert_allclose(attended.relevance, [[[[1.5, 0.5 + np.log(4)]]]], rtol=1e-6)
    np.testing.assert_allclose(attended.attention, [[[[e / (e + 4), 4 / (e + 4)]]]], rtol=1e-6)
    np.testing.assert_allclose(attended.output, [[[(3 * e + 4) / (e + 4) * 20]]], rtol=1e-6)
    # The search ranks by the same number: 0.5 + ln 4 = 1.89 before 1.5; without sizes the order is the other.
    keys = esu.relevance.project(tf.constant([[[1.0], [3.0]]]))
    scores = esu.relevance.of_history(query, keys, history.bias({}))
    np.testing.assert_allclose(scores, [[[[0.5 + np.log(4), 1.5]]]], rtol=1e-6)
    plain = esu.relevance.of_history(query, keys, dataclasses.replace(history, log_size=None).bias({}))
    assert (int(rank_union(scores, 1)), int(rank_union(plain, 1))) == (0, 1)


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_the_oracle(ranker: TwinRanker, seed: int) -> None:
    raw = clustered_request(seed)
    scores, interest = ranker(tensors(raw)).numpy(), ranker.score(tensors(raw))[1]
    oracle = Oracle(ranker)
    for b, n in np.ndindex(scores.shape):
        length, time = raw["history/length"][b], raw["request/timestamp"][b]
        retrieved = oracle.search(raw, b, n, length, time, SMALL.retrieved)
        assert interest.position[b, n].numpy().tolist() == retrieved + [-1] * (SMALL.retrieved - len(retrieved))
        expected = oracle.pctr(raw, b, n, length, time, raw["context/page_position"][b])
        assert scores[b, n] == pytest.approx(expected, abs=1e-5)


def test_clusters_of_one_are_twin_to_the_bit(ranker: TwinRanker, tmp_path: Path) -> None:
    twin = toy_ranker()
    plain = toy_request(np.random.default_rng(7), users=4, candidates=5, length=40)
    single = {**plain, SIZE: np.ones_like(plain["history/item_id"])}
    (logits, found), (logits_v2, found_v2) = twin.score(tensors(plain)), ranker.score(tensors(single))
    for a, b in (
        (logits, logits_v2),
        (found.position, found_v2.position),
        (found.attended.relevance, found_v2.attended.relevance),
        (found.attended.attention, found_v2.attended.attention),
        (found.attended.output, found_v2.attended.output),
    ):
        np.testing.assert_array_equal(a, b)
    answers = []
    for name, model, request in (("twin", twin, plain), ("v2", ranker, single)):
        export(model, toy_schema(), ENCODERS, ITEM_IDS[:KNOWN], 1.0, tmp_path / name)
        answers.append(explain(Servable(tmp_path / name), request))
    for name, values in answers[0].items():
        np.testing.assert_array_equal(answers[1][name], values, err_msg=name)


def explain(servable: Servable, request: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    info = servable.signatures["explain"]
    feeds = {info.inputs[name].name: value for name, value in request.items()}
    return dict(zip(info.outputs, servable.run(feeds, [o.name for o in info.outputs.values()]), strict=True))


def test_a_cluster_of_n_is_n_copies_of_its_virtual_item() -> None:
    # All copies fit into K, so that both retrieve everything.
    roomy = toy_ranker(dataclasses.replace(V2, retrieved=300, short_term_length=300, history_length=300))
    raw = clustered_request(8, length=12, unknown=0.2)
    for b, n in np.ndindex(2, 3):
        length = raw["history/length"][b]
        times = np.where(np.arange(12) < length, raw[SIZE][b], 0)
        copies = {k: v[b : b + 1] for k, v in raw.items()}
        copies |= {k: v[b : b + 1].repeat(times, axis=1) for k, v in raw.items() if v.shape == raw[SIZE].shape}
        copies |= {"history/length": np.array([times.sum()]), SIZE: np.ones([1, times.sum()], np.int64)}
        logits, of_clusters = roomy.score(tensors(raw))
        logits_of_copies, of_copies = roomy.score(tensors(copies))
        # Sums of up to some hundred copies in float32.
        np.testing.assert_allclose(of_copies.attended.output[0, n], of_clusters.attended.output[b, n], atol=5e-6)
        np.testing.assert_allclose(logits_of_copies[0, n], logits[b, n], atol=1e-5)
        # A cluster's weight is that of its copies together.
        for k in range(12):
            weight = of_clusters.attended.attention[b, n].numpy()[:, of_clusters.position[b, n].numpy() == k]
            slots = np.isin(of_copies.position[0, n].numpy(), np.flatnonzero(np.repeat(np.arange(12), times) == k))
            together = of_copies.attended.attention[0, n].numpy()[:, slots].sum(axis=1)
            np.testing.assert_allclose(together, weight.sum(axis=1), atol=1e-6)


def test_a_cluster_takes_one_slot_where_its_copies_would_take_all() -> None:
    scores = np.array([3 + np.log(5), 2.0, 1.0], np.float32)
    copies = np.array([3.0] * 5 + [2.0, 1.0], np.float32)
    assert rank_union(tf.constant(scores[None, None, None]), 2).numpy().ravel().tolist() == [0, 1]
    assert rank_union(tf.constant(copies[None, None, None]), 2).numpy().ravel().tolist() == [0, 1]  # both are copies


def test_what_stands_in_the_padding_changes_neither_score_nor_gradient(ranker: TwinRanker) -> None:
    raw = clustered_request(9, length=12)
    raw["history/length"][:] = [5, 0]

    def of(sizes: int) -> list[np.ndarray]:
        request = {**raw, SIZE: np.where(np.arange(12) < raw["history/length"][:, None], raw[SIZE], sizes)}
        with tf.GradientTape() as tape:
            logits = ranker.logits(tensors(request))
        gradients = tape.gradient(logits, ranker.trainable_variables, unconnected_gradients="zero")
        return [logits.numpy(), *(tf.convert_to_tensor(g).numpy() for g in gradients)]

    expected = of(1)
    assert all(np.isfinite(values).all() for values in expected)
    for sizes in (0, -5, np.iinfo(np.int64).min, np.iinfo(np.int64).max):
        for values, same in zip(of(sizes), expected, strict=True):
            np.testing.assert_array_equal(values, same)


def test_gradients_of_huge_clusters_are_finite(ranker: TwinRanker) -> None:
    raw = clustered_request(10)
    raw[SIZE][:] = 10**12
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(ranker.logits(tensors(raw)))
    gradients = tape.gradient(loss, ranker.trainable_variables, unconnected_gradients="zero")
    assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)


def test_a_fresh_table_retrieves_everything_that_attention_would_choose(ranker: TwinRanker) -> None:
    raw = clustered_request(11, users=4, candidates=3, length=30)
    raw |= {"history/length": np.full(4, 30), "weight": np.ones((4, 3), np.float32)}
    assert measure(ranker, [tensors(raw)], depths=(2, 5, 10)).hit_at == {2: 100.0, 5: 100.0, 10: 100.0}


def clustered_row(seed: int) -> dict[str, Any]:
    """30 clusters, 10 behaviours, and targets that see the clusters and ever more of the behaviours."""
    rng = np.random.default_rng(seed)
    row = user_row(rng, 40, 6)
    row["history/timestamp"] = NOW - 10**9 + 10**6 * np.arange(40)
    ends = np.array([30, 31, 34, 34, 38, 40])
    row |= {"target/history_end": ends, "target/timestamp": NOW - 10**9 + 10**6 * (ends - 1) + 10}
    return {**row, SIZE: np.append(rng.integers(2, 21, 30), np.ones(10, np.int64))}


def test_windows_carry_the_sizes_and_are_scored_as_requests_are(ranker: TwinRanker, tmp_path: Path) -> None:
    row = clustered_row(0)
    file = write(tmp_path / "a.gz", [row])
    windows = list(window_dataset([file], toy_schema(), V2, shuffle=False))
    np.testing.assert_array_equal(windows[0][SIZE][0], row[SIZE][10:34])  # the last 20 before each of 30, 31, 34, 34
    scores = np.concatenate([ranker(window).numpy()[window["weight"] > 0] for window in windows])
    for t, end in enumerate(row["target/history_end"]):
        last = slice(end - 20, end)
        request = {name: np.asarray(v)[None, last] for name, v in row.items() if name.startswith("history/")}
        request |= {
            "history/length": np.array([20]),
            "candidate/item_id": row["target/item_id"][None, t : t + 1],
            "request/timestamp": row["target/timestamp"][t : t + 1],
            "context/page_position": row["target/page_position"][t : t + 1],
            "user/age_group": np.array([row["user/age_group"]]),
            "user/activity": np.array([row["user/activity"]]),
        }
        np.testing.assert_allclose(ranker(tensors(request)).numpy()[0, 0], scores[t], atol=1e-6)
    serialized = tf.stack(list(tf.data.TFRecordDataset(file, compression_type="GZIP")))
    pctr = Signatures(ranker, toy_schema()).functions["serve_examples"](serialized)["pctr"]
    np.testing.assert_allclose(pctr[0], scores, atol=1e-6)


def test_examples_without_sizes_are_refused_by_name(ranker: TwinRanker, tmp_path: Path) -> None:
    row = clustered_row(1)
    del row[SIZE]
    file = write(tmp_path / "a.gz", [row])
    wanted = r"history/cluster_size.*this model takes clustered Examples"
    with pytest.raises(tf.errors.InvalidArgumentError, match=wanted):
        list(window_dataset([file], toy_schema(), V2, shuffle=False))
    serialized = tf.stack(list(tf.data.TFRecordDataset(file, compression_type="GZIP")))
    with pytest.raises(tf.errors.InvalidArgumentError, match=wanted):
        Signatures(ranker, toy_schema()).functions["serve_examples"](serialized)


def test_examples_of_a_size_below_one_are_refused_by_name(tmp_path: Path) -> None:
    row = clustered_row(2)
    row[SIZE][0] = 0
    file = write(tmp_path / "a.gz", [row])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"history/cluster_size.*a value is below 1"):
        list(window_dataset([file], toy_schema(), V2, shuffle=False))


@pytest.fixture(scope="module")
def servers(ranker: TwinRanker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    folder = tmp_path_factory.mktemp("twin_v2")
    publish(folder, lambda path: export(ranker, toy_schema(), ENCODERS, ITEM_IDS[:KNOWN], 1.0, path))
    with served(folder) as (_, grpc, rest):
        yield grpc, rest


@pytest.fixture(params=["grpc", "rest"])
def client(request: pytest.FixtureRequest, servers: tuple[str, str]) -> Iterator[Client]:
    with Client(grpc=servers[0]) if request.param == "grpc" else Client(rest=servers[1]) as client:
        yield client


def test_a_server_scores_clusters_and_names_a_size_below_one(client: Client, ranker: TwinRanker) -> None:
    raw = clustered_request(12, length=6)
    raw["history/length"][:] = [4, 6]
    raw[SIZE][0, 4:] = [0, -3]  # padding
    expected = ranker(tensors(raw)).numpy()
    np.testing.assert_allclose(np.asarray(client.predict(raw).outputs["pctr"], np.float32), expected, atol=1e-5)
    for wrong, message in (
        (np.where(np.arange(6) == 3, 0, raw[SIZE]), r"input .*history/cluster_size.*a value is below 1"),
        (np.where(np.arange(6) == 1, -7, raw[SIZE]), r"input .*history/cluster_size.*a value is below 1"),
        (raw[SIZE][:, :5], r"history/cluster_size.*shape x differs.*history/item_id"),
        (raw[SIZE][0], r"history/cluster_size.*expected rank 2 \[B, L\]"),
    ):
        with pytest.raises(PredictError, match=message) as caught:
            client.predict({**raw, SIZE: wrong})
        assert caught.value.code == "INVALID_ARGUMENT"
    without = {name: values for name, values in raw.items() if name != SIZE}
    with pytest.raises(PredictError, match="history/cluster_size") as caught:
        client.predict(without)
    assert caught.value.code == "INVALID_ARGUMENT"
    assert client.predict(raw).outputs["pctr"].shape == (2, 3)
