"""SIM's auxiliary task, against its equations written out in loops."""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.catalog import read_catalog
from model.history import History
from model.sim_auxiliary import SimAuxiliary
from tests.toy import ENCODERS, SMALL, toy_schema
from tests.training_data import write


def test_behaviours_are_pooled_by_their_inner_products(tmp_path: Path) -> None:
    tf.keras.utils.set_random_seed(3)
    rng = np.random.default_rng(3)
    items = [
        {"item_id": i, "frequency": 9, "author_id": 500 + i % 5, "topics": [i % 3], "duration_seconds": 1.0 + 7 * i}
        for i in range(8)
    ]
    config = dataclasses.replace(SMALL, search_width=4)
    catalog = read_catalog([write(tmp_path / "catalog.gz", items)], toy_schema(), ENCODERS, config)
    model = SimAuxiliary(toy_schema(), ENCODERS, config, catalog)
    row = np.array([[1, 2, 0, 3, 4], [5, 6, 7, 1, 0]], np.int32)
    # The first target sees three behaviours, of which one has no row; the second the latest three; the third none.
    start, end = np.array([[0, 2, 0], [0, 1, 0]], np.int32), np.array([[3, 5, 0], [2, 4, 0]], np.int32)
    cross = {name: rng.integers(0, 3, row.shape).astype(np.int32) for name in model.cross}
    history = History(
        tf.constant(row),
        tf.range(5),
        tf.zeros(row.shape, tf.int64),
        {name: tf.constant(index) for name, index in cross.items()},
        tf.constant(start),
        tf.constant(end),
        tf.zeros([2, 1], tf.int64),
    )
    target = rng.normal(size=(2, 3, model.inherent.width)).astype(np.float32)
    pooled = model.pool(tf.constant(target), history).numpy()

    kernel = model.kernel.numpy().astype(float)
    embedded = model.inherent(model.item_table.features(tf.constant(row))).numpy().astype(float)
    seen = {(b, n): [i for i in range(start[b, n], end[b, n]) if row[b, i] > 0] for b in range(2) for n in range(3)}
    mean = np.mean([embedded[b, i] @ kernel for (b, _), behaviours in seen.items() for i in behaviours], axis=0)
    assert sum(map(len, seen.values())) == 9
    for (b, n), behaviours in seen.items():
        expected = np.zeros(pooled.shape[-1])
        for i in behaviours:
            relevance = (embedded[b, i] @ kernel - mean) @ (target[b, n] @ kernel - mean)
            features = [embedded[b, i], *(model.cross[name](cross[name][b, i]).numpy() for name in cross)]
            expected += relevance * np.concatenate(features) / len(behaviours)
        np.testing.assert_allclose(pooled[b, n], expected, atol=1e-6)
    assert np.abs(pooled[:, :2]).max(axis=-1).min() > 1e-4, "nothing was pooled"
    assert not pooled[:, 2].any()
