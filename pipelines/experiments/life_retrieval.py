"""What a search over a clustered, or cut, life finds of what attention over the whole life would choose."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from model.config import TwinConfig
from model.consistency import rank_order
from model.history import CLUSTER_SIZE
from model.interest import categories, category_feature
from model.item_table import ITEM_ID
from model.ranker import TwinRanker
from model.schema import DatasetSchema
from model.stage_scores import stage_scores
from model.windows import cut_window, user_example_spec
from pipelines.clustering.entries import Ints
from pipelines.clustering.example_columns import ExampleColumns, history_of
from pipelines.clustering.groups import groups_of
from pipelines.clustering.life import assign, clusterable
from pipelines.clustering.vectors import ItemVectors
from pipelines.clustering.virtual_items import merge
from pipelines.experiments.dataset import Prepared
from pipelines.experiments.study import Study
from pipelines.experiments.training import fresh_ranker, load_state

_TARGETS_PER_USER = 4
_WHOLE = 10**8
_FIRST_TARGET = "target/timestamp"


def life_retrieval(
    study: Study, data: Prepared, config: TwinConfig, state: Path, vectors: ItemVectors
) -> dict[str, Any]:
    """Looks at the first eval targets of some users.

    Args:
        study: The plain data set, the catalog and the number of targets to measure.
        data: What the model reads: the plain data set, or a clustered one.
        config: The model's configuration, and that of the clustering.
        state: What `save_state` wrote of the model.
        vectors: What the histories were clustered by.

    Returns:
        `hit_percent`: of the K behaviours most relevant over the whole life, by the model's own relevance with sizes of
        1, those that are retrieved or lie in a retrieved cluster; `distinct_categories`: mean number of categories
        among what is retrieved; `targets`.
    """
    lives = _first_records(study.data)
    read = _first_records(data)
    users = list(lives)[: -(-study.budget.measured_targets // _TARGETS_PER_USER)]
    small = dataclasses.replace(config, targets_per_window=_TARGETS_PER_USER)
    # One after the other: each needs a graph and an item table of its own.
    found = _retrieved(study, small, state, {user: read[user] for user in users})
    wanted = _wanted(study, small, state, {user: lives[user] for user in users})
    hits: list[float] = []
    distinct: list[int] = []
    for user in users:
        owner = _owners(lives[user], config, vectors, data) if data is not study.data else None
        for best, (entries, kinds) in zip(wanted[user], found[user], strict=False):
            if len(best) == config.retrieved:
                hits.append(100 * float(np.isin(best if owner is None else owner[best], entries).mean()))
                distinct.append(kinds)
    return {
        "hit_percent": float(np.mean(hits)) if hits else None,
        "distinct_categories": float(np.mean(distinct)) if distinct else None,
        "targets": len(hits),
    }


def _first_records(data: Prepared) -> dict[bytes, bytes]:
    """Each eval user's Example with the earliest targets."""
    first: dict[bytes, tuple[int, bytes]] = {}
    for record in tf.data.TFRecordDataset(data.files("eval"), compression_type="GZIP").as_numpy_iterator():
        example = ExampleColumns(record)
        time = int(example.values(_FIRST_TARGET, "int64")[0])
        if example.user not in first or time < first[example.user][0]:
            first[example.user] = (time, record)
    return {user: record for user, (_, record) in sorted(first.items())}


def _retrieved(
    study: Study, config: TwinConfig, state: Path, records: dict[bytes, bytes]
) -> dict[bytes, list[tuple[Ints, int]]]:
    """For each user's first targets, what is retrieved: entries of the Example, and how many categories they have."""
    ranker = fresh_ranker(study.data, config, study.catalog(), {})
    load_state(ranker, state)
    score = tf.function(lambda raw: ranker.score(raw)[1].position, reduce_retracing=True, autograph=False)
    of_item = _categories_of(ranker, config, study.data.schema)
    result = {}
    for user, record in records.items():
        batch, first = _window(record, study.data.schema, config)
        row = ranker.item_table.lookup(batch[f"history/{ITEM_ID}"][0]).numpy()
        positions = [position[position >= 0] for position in score(batch).numpy()[0]]  # N of [K']
        result[user] = [(first + p, len(np.setdiff1d(of_item[row[p]], [0]))) for p in positions]
    return result


def _categories_of(ranker: TwinRanker, config: TwinConfig, schema: DatasetSchema) -> np.ndarray:
    """Categories of the item table's rows; none where no feature is fit to be one."""
    if config.category_feature is None and not categories(schema):
        return np.zeros(len(ranker.item_table.ids.numpy()), np.int32)
    return np.asarray(ranker.item_table.index[category_feature(config, schema)])


def _wanted(study: Study, config: TwinConfig, state: Path, records: dict[bytes, bytes]) -> dict[bytes, list[Ints]]:
    """Of every user's first targets the K behaviours of the whole life that are most relevant, heads united by rank."""
    whole = dataclasses.replace(config, history_length=_WHOLE)
    ranker = fresh_ranker(study.data, whole, study.catalog(), {})
    load_state(ranker, state)
    exact = tf.function(lambda raw: stage_scores(ranker, raw)[1], reduce_retracing=True, autograph=False)
    result = {}
    for user, record in records.items():
        batch, _ = _window(record, study.data.schema, dataclasses.replace(whole, interest="twin"))
        if config.clustered:
            batch[f"history/{CLUSTER_SIZE}"] = tf.ones_like(batch[f"history/{ITEM_ID}"])
        result[user] = [_best(scores, config.retrieved) for scores in np.moveaxis(exact(batch).numpy()[0], 1, 0)]
    return result


def _best(scores: np.ndarray, count: int) -> Ints:
    """The first `count` positions of scores [h, L], heads united by rank, the newer of equal ones first."""
    visible = np.flatnonzero(np.isfinite(scores[0]))[::-1]
    return np.asarray(visible[rank_order(scores[:, visible])[:count]])


def _window(record: bytes, schema: DatasetSchema, config: TwinConfig) -> tuple[dict[str, tf.Tensor], int]:
    """A user's first targets as a batch of one window, and the entry of the Example with which it begins."""
    example = tf.io.parse_single_example(record, user_example_spec(schema, config.clustered))
    end = example["target/history_end"][: config.targets_per_window].numpy()
    window = cut_window(example, tf.constant(0), schema, config)
    return {name: values[tf.newaxis] for name, values in window.items()}, max(int(end.min()) - config.history_length, 0)


def _owners(record: bytes, config: TwinConfig, vectors: ItemVectors, data: Prepared) -> Ints:
    """The entry of the user's first clustered Example in which each behaviour of the life lies, int64 [behaviours]."""
    example = ExampleColumns(record)
    life = history_of(example, data.schema)
    life = dataclasses.replace(life, group=groups_of(life, data.schema, config, vectors))
    end = int(example.values("target/history_end", "int64")[0])
    through = clusterable(life.time[:end], config.short_term_length)
    order = np.lexsort((life.item[:through], life.time[:through]))
    old = life.take(order)
    label, representative = assign(old, vectors, config, example.user)
    # A cluster that has its number for a group tells by it where it comes to lie.
    place = np.empty(len(representative), np.int64)
    place[merge(dataclasses.replace(old, group=label), label, representative).group] = np.arange(len(representative))
    owner = np.empty(len(life), np.int64)
    owner[order] = place[label]
    owner[through:] = len(representative) + np.arange(len(life) - through)
    return owner
