"""What `twin bench serving` serves: the servable at the paper's widths, the plain reference, and the floor beneath."""

import statistics
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.config import TwinConfig
from model.export import export
from model.top_k import BLOCK
from pipelines.bench_ranker import bench_encoders, bench_ranker, bench_schema
from pipelines.plain_reference import PlainReference

_REPEATS = 15


def write_servables(fast: Path, plain: Path, rows: int, config: TwinConfig, seed: int) -> None:
    """Exports a ranker with random weights and a table of `rows` items twice: as it is, and as the plain reference."""
    ranker = bench_ranker(rows, config, seed)
    ranker.item_table.refresh(ranker.project_rows)
    export(ranker, bench_schema(), bench_encoders(rows, config), np.arange(rows), 1.0, fast)
    PlainReference(ranker, bench_schema()).save(plain)


def floor_ms(rows: int, config: TwinConfig, history_length: int, candidates: int) -> float:
    """Time of what no exact search can leave out, in ms: read L projections, multiply, read every score once.

    That is a gather of L rows of h * d_k numbers, h matrix products [N, d_k] x [d_k, L], and the maximum of every block
    of scores, in TensorFlow with its default threads.
    """
    width = config.projection_dim
    table = tf.Variable(tf.zeros([rows + 1, width], tf.as_dtype(config.table_dtype)))
    rng = np.random.default_rng(0)
    length = -(-history_length // BLOCK) * BLOCK
    row = tf.constant(rng.integers(0, rows, length))
    query = tf.constant(rng.normal(size=[config.heads, candidates, config.head_dim]), tf.float32)

    @tf.function
    def search() -> tf.Tensor:
        keys = tf.reshape(tf.cast(tf.gather(table, row), tf.float32), [length, config.heads, config.head_dim])
        scores = tf.matmul(query, tf.transpose(keys, [1, 2, 0]))  # [h, N, L]
        return tf.reduce_max(tf.reshape(scores, [-1, BLOCK]), axis=1)

    search()
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        search().numpy()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3
