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
from model.encoders import Boundaries, Encoders, Vocabulary, feature_key
from model.export import export
from model.ranker import TwinRanker
from model.schema import Feature, load_schema
from pipelines.project_items import STEP_ROWS, projector

TOPICS_WIDTH = 4
_TOPICS = 64
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
    """Exports a ranker with random weights for the schema `simulated`; half of `write_catalog`'s items have a row."""
    schema = load_schema("simulated")
    tf.keras.utils.set_random_seed(seed)
    features = (*schema.inherent, *schema.cross, *schema.context, *schema.user)
    encoders = Encoders({feature_key(f): _statistics(f, items, config.quantile_buckets) for f in features})
    known = np.arange(0, items, 2) * 7 + 1
    ranker = TwinRanker(schema, encoders, config, len(known), {"topics": TOPICS_WIDTH})
    ones = np.ones(len(known), np.int32)
    index: dict[str, np.ndarray] = dict.fromkeys(("author_id", "duration_seconds"), ones)
    index |= {"item_id": np.cumsum(ones, dtype=np.int32), "topics": np.repeat(ones[:, np.newaxis], TOPICS_WIDTH, 1)}
    ranker.item_table.assign(known, index)
    ranker.item_table.refresh(ranker.project_rows)
    export(ranker, schema, encoders, known, 1.0, out)


def write_catalog(folder: Path, items: int, seed: int) -> None:
    """Writes an items table of the schema `simulated` with random features, 100,000 rows a row group."""
    rng = np.random.default_rng(seed)
    count = rng.integers(1, TOPICS_WIDTH + 1, items)
    offsets = pa.array(np.concatenate([[0], np.cumsum(count)]), pa.int32())
    topics = pa.array(rng.integers(0, _TOPICS, count.sum()))
    table = pa.table(
        {
            "item_id": rng.permutation(items) * 7 + 1,
            "author_id": rng.integers(0, _authors(items), items),
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
    item_id = rng.integers(0, items, STEP_ROWS) * 7 + 1
    inputs: dict[str, np.ndarray] = {
        "author_id": rng.integers(0, _authors(items), STEP_ROWS),
        "topics": rng.integers(0, _TOPICS, (STEP_ROWS, TOPICS_WIDTH)),
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


def _statistics(feature: Feature, items: int, buckets: int) -> Vocabulary | Boundaries:
    if feature.numeric:
        return Boundaries(tuple(float(2**i) for i in range(buckets - 1)))
    count = {"author_id": _authors(items), "topics": _TOPICS}.get(feature.name, 8)
    if feature.dtype == "string":
        return Vocabulary("string", tuple(str(i) for i in range(count)))
    return Vocabulary("int64", tuple(range(count)))


def _authors(items: int) -> int:
    return max(1, items // 20)
