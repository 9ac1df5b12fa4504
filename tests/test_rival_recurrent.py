"""DIEN and MIMN against plain loops."""

import numpy as np
import pytest
import tensorflow as tf

from model.rivals.dien import DIEN
from model.rivals.memory_cell import SLOTS, MemoryCell, MemoryState, balance
from model.rivals.mimn import MIMN, utilisation_loss
from model.rivals.recurrence import GatedRecurrence
from model.rivals.rival import Rival
from tests.rivals import HAND, hand_history, hand_world

RNG = np.random.default_rng(0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(x - x.max()) / np.exp(x - x.max()).sum())


def randomise(layer: tf.keras.layers.Layer, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(0, 0.7, variable.shape))


def assert_interest_trains(rival: Rival, trained: list[tf.Variable]) -> None:
    """That each of these weights has a gradient of the interest itself, without what training adds to the loss."""
    row = tf.constant([[3]])
    with tf.GradientTape() as tape:
        output = rival(rival.inherent(rival.table.features(row)), hand_history([1, 2, 3, 1]), row).attended.output
    for variable, gradient in zip(trained, tape.gradient(output, trained), strict=True):
        assert gradient is not None and np.abs(gradient).max() > 1e-6, variable.name


def gru(cell: GatedRecurrence, state: np.ndarray, x: np.ndarray, gate: float) -> np.ndarray:
    """One step of one sequence."""
    n = cell.units
    w, b = cell.kernel.numpy(), cell.bias.numpy()
    u = np.concatenate([cell.gates_kernel, cell.candidate_kernel], axis=1)
    update = gate * sigmoid(x @ w[:, :n] + state @ u[:, :n] + b[:n])
    reset = sigmoid(x @ w[:, n : 2 * n] + state @ u[:, n : 2 * n] + b[n : 2 * n])
    candidate = np.tanh(x @ w[:, 2 * n :] + (reset * state) @ u[:, 2 * n :] + b[2 * n :])
    return (1 - update) * state + update * candidate


def test_gru_by_hand() -> None:
    cell = GatedRecurrence(1, 1)
    cell.kernel.assign([[0.0, 0.0, 1.0]])
    cell.gates_kernel.assign([[0.0, 0.0]])
    cell.candidate_kernel.assign([[2.0]])
    inputs, gate = tf.constant([[[1.0]], [[1.0]], [[1.0]]]), tf.constant([[1.0], [0.0], [0.5]])
    states = cell(cell.project(inputs), gate)[:, 0, 0]
    first = 0.5 * np.tanh(1.0)  # update and reset are sigmoid(0) = 1/2
    third = 0.75 * first + 0.25 * np.tanh(1 + 2 * 0.5 * first)
    np.testing.assert_allclose(states, [first, first, third], rtol=1e-6)


def test_dien_equals_the_loop() -> None:
    inherent, cross, table = hand_world(RNG.normal(size=[4, 2]))
    dien = DIEN(HAND, inherent, cross, table)
    randomise(dien)
    embedding = inherent.embeddings["item_id"].table.numpy()
    history, row = hand_history([1, 2, 0, 3, 4, 1], end=[5, 6, 0], start=[0, 3, 0]), tf.constant([[1, 4, 2]])
    output = dien(inherent(table.features(row)), history, row).attended.output
    for n, seen in enumerate([[1, 2, 3, 4], [3, 4, 1], []]):
        state, states = np.zeros(1), []
        for item in seen:
            state = gru(dien.extractor, state, embedding[item], 1)
            states.append(state)
        target = embedding[row.numpy()[0, n]] @ dien.attention_kernel.numpy()
        attention = softmax(np.array([h @ target for h in states])) if seen else np.zeros(0)
        final = np.zeros(1)
        for h, a in zip(states, attention, strict=True):
            final = gru(dien.evolution, final, h, a)
        np.testing.assert_allclose(output[0, n], final, atol=1e-6)


def test_diens_auxiliary_loss_by_hand() -> None:
    inherent, cross, table = hand_world([[1.0, 0.0], [0.0, 1.0]])
    dien = DIEN(HAND, inherent, cross, table)
    dien.next_kernel.assign([[2.0], [0.0]])
    # States 1 and 3 before the second and third behaviour. All visible ones have the same product with the kernel, and
    # so has any negative; the last behaviour is invisible and never drawn.
    states = tf.constant([[[[1.0], [3.0], [5.0], [7.0]]]])
    items = tf.constant([[[[1.0, 9.0], [1.0, 0.0], [1.0, 1.0], [-50.0, 0.0]]]])
    visible = tf.constant([[[True, True, True, False]]])
    expected = np.mean([-np.log(sigmoid(s)) - np.log(1 - sigmoid(s)) for s in (np.array(2.0), np.array(6.0))])
    for _ in range(20):
        assert float(dien.auxiliary_loss(states, items, visible)) == pytest.approx(float(expected), rel=1e-5)
    assert float(dien.auxiliary_loss(states, items, visible & False)) == 0


def test_diens_negatives_are_drawn_among_all_that_was_met() -> None:
    inherent, cross, table = hand_world([[1.0, 0.0], [0.0, 1.0]])
    dien = DIEN(HAND, inherent, cross, table)
    dien.next_kernel.assign([[1.0], [0.0]])
    states = tf.ones([1, 1, 2, 1])
    items = tf.constant([[[[0.0, 0.0], [1.0, 0.0]]]])
    drawn = {round(float(dien.auxiliary_loss(states, items, tf.ones([1, 1, 2], tf.bool))), 4) for _ in range(50)}
    positive = np.log1p(np.exp(-1.0))
    assert drawn == {round(float(positive + np.log(2)), 4), round(float(positive + np.log1p(np.exp(1.0))), 4)}


def test_diens_interest_trains_attention_and_extractor_without_the_auxiliary_loss() -> None:
    inherent, cross, table = hand_world(np.random.default_rng(4).normal(size=[3, 2]))
    dien = DIEN(HAND, inherent, cross, table)
    randomise(dien, 4)
    trained = [dien.attention_kernel, *dien.extractor.trainable_variables, *dien.evolution.trainable_variables]
    assert_interest_trains(dien, trained)


def test_diens_auxiliary_loss_is_part_of_training_alone() -> None:
    inherent, cross, table = hand_world([[1.0, 0.0], [0.0, 1.0]])
    dien = DIEN(HAND, inherent, cross, table)
    history, row = hand_history([1, 2]), tf.constant([[1]])
    target = inherent(table.features(row))
    assert dien(target, history, row).loss is None
    assert float(dien(target, history, row, training=True).loss) > 0


def cell_step(cell: MemoryCell, state: dict[str, np.ndarray], e: np.ndarray) -> dict[str, np.ndarray]:
    """One behaviour of one user, slot by slot."""
    d = cell.memory_width
    controller = gru(cell.controller, state["controller"], np.concatenate([e, state["read"]]), 1)
    out = controller @ cell.parameters.kernel.numpy() + cell.parameters.bias.numpy()
    read_key, write_key, erase, add = (out[i * d : (i + 1) * d] for i in range(4))
    sharp = 1 + np.log1p(np.exp(out[4 * d :]))

    def address(key: np.ndarray, b: float) -> np.ndarray:
        cosine = [key @ m / np.linalg.norm(key) / np.linalg.norm(m) for m in state["memory"]]
        return softmax(b * np.array(cosine))

    read_weight, write_weight = address(read_key, sharp[0]), address(write_key, sharp[1])
    share = state["written"] / (1 + state["written"].sum())
    transfer = (share @ cell.transfer.numpy()).reshape(SLOTS, SLOTS) + cell.transfer_bias.numpy()
    write_weight = write_weight @ np.array([softmax(r) for r in transfer])
    memory, channels = state["memory"].copy(), state["channels"].copy()
    most = int(read_weight.argmax())
    channels[most] = gru(cell.induction, channels[most], np.concatenate([e, memory[most]]), 1)
    for i in range(SLOTS):
        memory[i] = memory[i] * (1 - write_weight[i] * sigmoid(erase)) + write_weight[i] * np.tanh(add)
    return {
        "controller": controller,
        "read": read_weight @ state["memory"],
        "memory": memory,
        "channels": channels,
        "written": state["written"] + write_weight,
    }


def test_memory_cell_equals_the_loop() -> None:
    cell = MemoryCell(2, 3)
    randomise(cell, 3)
    inputs = RNG.normal(size=[1, 4, 2]).astype(np.float32)
    states = cell(tf.constant(inputs), tf.constant([[True, False, True, True]]))
    state = {
        "controller": np.zeros(3),
        "read": np.zeros(3),
        "memory": np.tanh(cell.first_memory.numpy()),
        "channels": np.zeros([SLOTS, 3]),
        "written": np.zeros(SLOTS),
    }
    for t in range(5):
        if t in (1, 3, 4):  # behaviour 1 (the second) is not real
            state = cell_step(cell, state, inputs[0, t - 1])
        for name, value in state.items():
            np.testing.assert_allclose(getattr(states, name)[0, t], value, atol=1e-5, err_msg=f"{name} after {t}")
    np.testing.assert_allclose(np.sum(states.written[0, 4]), 3, rtol=1e-5)  # weights of a write sum to one


def test_each_target_reads_the_memory_of_its_own_time() -> None:
    inherent, cross, table = hand_world(RNG.normal(size=[4, 2]))
    mimn = MIMN(HAND, inherent, cross, table)
    randomise(mimn, 1)
    rows = [1, 2, 0, 3, 4, 1]
    row = tf.constant([[1, 1, 1, 1]])
    target = inherent(table.features(row))
    together = mimn(target, hand_history(rows, end=[6, 2, 4, 0]), row).attended.output
    for n, end in enumerate([6, 2, 4, 0]):
        alone = mimn(target[:, :1], hand_history(rows, end=end), row[:, :1]).attended.output
        np.testing.assert_allclose(together[:, n], alone[:, 0], atol=1e-6)
    assert len({float(v) for v in together[0, :, 0]}) == 4


def test_unknown_items_are_not_written_to_the_memory() -> None:
    inherent, cross, table = hand_world(np.random.default_rng(2).normal(size=[3, 2]))
    mimn = MIMN(HAND, inherent, cross, table)
    randomise(mimn, 2)
    row = tf.constant([[3]])
    target = inherent(table.features(row))
    with_unknown, without = (mimn(target, hand_history(rows), row).attended.output for rows in ([1, 0, 2], [1, 2]))
    np.testing.assert_allclose(with_unknown, without, atol=1e-6)


def test_the_memory_enters_the_induction_without_gradient() -> None:
    cell = MemoryCell(2, 3)
    randomise(cell, 5)
    with tf.GradientTape() as tape:
        channels = cell(tf.ones([1, 1, 2]), tf.constant([[True]])).channels
    assert not np.any(tape.gradient(channels, cell.first_memory, unconnected_gradients="zero"))


def test_what_was_written_enters_the_balance_without_gradient() -> None:
    cell = MemoryCell(2, 3)
    randomise(cell, 5)
    weight, written = tf.ones([1, SLOTS]) / SLOTS, tf.range(SLOTS, dtype=tf.float32)[tf.newaxis]
    with tf.GradientTape() as tape:
        tape.watch(written)
        balanced = balance(weight, written, lambda name, share: share @ cell.transfer)
    assert tape.gradient(balanced, written) is None


def test_what_a_target_reads_trains_all_of_the_memory_cell() -> None:
    inherent, cross, table = hand_world(np.random.default_rng(6).normal(size=[3, 2]))
    mimn = MIMN(HAND, inherent, cross, table)
    randomise(mimn, 6)
    assert_interest_trains(mimn, mimn.cell.trainable_variables)


def test_the_memory_begins_recent_known_behaviours_before_the_earliest_target() -> None:
    inherent, cross, table = hand_world(RNG.normal(size=[4, 2]))
    mimn = MIMN(HAND, inherent, cross, table)
    assert mimn.recent == 1000
    mimn.recent = 2
    position, read_after = mimn.sequence(hand_history([1, 2, 0, 3, 4, 1], end=[5, 6, 0]))
    # The two newest known behaviours before 5 are 3 and 4; the target at 6 reads after one more.
    np.testing.assert_array_equal(position, [[3, 4, 5]])
    np.testing.assert_array_equal(read_after, [[2, 3, 0]])
    position, _ = mimn.sequence(hand_history([1, 2, 0, 3, 4, 1], end=[4, 6], start=[0, 2]))
    np.testing.assert_array_equal(position, [[2, 3, 4, 5]])  # not 1: the later target must not see it


def test_reading_by_hand() -> None:
    inherent, cross, table = hand_world([[1.0, 0.0]])
    mimn = MIMN(HAND, inherent, cross, table)
    mimn.query_kernel.assign([[2.0], [0.0]])
    mimn.sharpness.assign(np.log(3.0))
    memory = tf.constant([[[[1.0], [-1.0]]]])  # cosines 1 and -1: weights 9/10 and 1/10
    channels = tf.constant([[[[10.0], [20.0]]]])
    np.testing.assert_allclose(mimn.read(tf.constant([[[5.0, 1.0]]]), memory, channels), [[[0.8, 11.0]]], rtol=1e-5)


def test_uneven_writing_costs() -> None:
    nothing = tf.zeros([1, 2, 1])
    written = tf.constant([[[0.0, 0.0], [4.0, 0.0]]])
    state = MemoryState(nothing, nothing, nothing, nothing, written)
    assert float(utilisation_loss(state)) == pytest.approx(1e-3 * 4)
