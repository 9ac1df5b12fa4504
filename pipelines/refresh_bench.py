"""Measures the projection job at the paper's widths: id 64 + author 64 + 8 + 8 -> 4 heads x 32."""

import dataclasses
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from model.config import TwinConfig
from model.export import export
from pipelines.bench_ranker import ITEMS_PER_AUTHOR, TOPICS, TOPICS_WIDTH, bench_encoders, bench_ranker, bench_schema
from pipelines.project_items import STEP_ROWS, projector

_INPUT, _OUTPUT = 64 + 64 + 8 + 8, 128
_STEPS = 40


@dataclasses.dataclass(frozen=True)
class StepSpeed:
    """One core, the job's batch size.

    Attributes:
        items_per_s_per_core: Items through the signature `project_items`.
        gemm_items_per_s_per_core: Rows through the matrix product [8192, 144] x [144, 128] alone.
        share_of_gemm_limit: Their ratio.
    """

    items_per_s_per_core: float
    gemm_items_per_s_per_core: float
    share_of_gemm_limit: float


def write_servable(out: Path, items: int, config: TwinConfig, seed: int) -> None:
    """Exports a ranker with random weights that knows the first half of `write_catalog`'s items."""
    known = items // 2
    ranker = bench_ranker(known, config, seed)
    ranker.item_table.refresh(ranker.project_rows)
    export(ranker, bench_schema(), bench_encoders(known, config), np.arange(known), 1.0, out)


def write_catalog(folder: Path, items: int, seed: int) -> None:
    """Writes an items table of the schema `simulated` with random features, 100,000 rows a row group."""
    rng = np.random.default_rng(seed)
    count = rng.integers(1, TOPICS_WIDTH + 1, items)
    offsets = pa.array(np.concatenate([[0], np.cumsum(count)]), pa.int32())
    topics = pa.array(rng.integers(0, TOPICS, count.sum()))
    table = pa.table(
        {
            "item_id": rng.permutation(items),
            "author_id": rng.integers(0, items // ITEMS_PER_AUTHOR, items),
            "topics": pa.ListArray.from_arrays(offsets, topics),
            "duration_seconds": rng.gamma(2.0, 30.0, items).astype(np.float32),
        }
    )
    (folder / "items").mkdir(parents=True)
    pq.write_table(table, folder / "items" / "part-0.parquet", row_group_size=100_000)


def measure_step(servable: Path, items: int, seed: int) -> StepSpeed:
    """Measures the projection step in a process of its own that has one core and one TensorFlow thread."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure_step, str(servable), items, seed).result()


def _measure_step(servable: str, items: int, seed: int) -> StepSpeed:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    project = projector(servable)
    rng = np.random.default_rng(seed)
    item_id = rng.integers(0, items, STEP_ROWS)
    inputs: dict[str, np.ndarray] = {
        "author_id": rng.integers(0, items // ITEMS_PER_AUTHOR, STEP_ROWS),
        "topics": rng.integers(0, TOPICS, (STEP_ROWS, TOPICS_WIDTH)),
        "topics/length": rng.integers(1, TOPICS_WIDTH + 1, STEP_ROWS),
        "duration_seconds": rng.gamma(2.0, 30.0, STEP_ROWS).astype(np.float32),
    }
    left = tf.constant(rng.standard_normal((STEP_ROWS, _INPUT)), tf.float32)
    right = tf.constant(rng.standard_normal((_INPUT, _OUTPUT)), tf.float32)
    # Alternating, so that both meet the same clock rate and the same neighbours; the median leaves outliers out.
    step_s, gemm_s = [], []
    for _ in range(_STEPS):
        start = time.perf_counter()
        project(item_id, inputs)
        middle = time.perf_counter()
        tf.matmul(left, right).numpy()
        end = time.perf_counter()
        step_s.append(middle - start)
        gemm_s.append(end - middle)
    step, gemm = STEP_ROWS / float(np.median(step_s)), STEP_ROWS / float(np.median(gemm_s))
    return StepSpeed(step, gemm, step / gemm)
