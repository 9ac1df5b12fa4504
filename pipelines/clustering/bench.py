"""Measures the clustering of one simulated life."""

import dataclasses
import time

import numpy as np

from model.config import Clustering, TwinConfig
from model.schema import load_schema
from pipelines.clustering.entries import Entries, Ints
from pipelines.clustering.groups import groups_of
from pipelines.clustering.life import assign
from pipelines.clustering.vectors import Floats, ItemVectors
from pipelines.clustering.virtual_items import merge
from pipelines.peak_memory import peak_memory
from pipelines.simulator.catalog import Catalog, make_catalog
from pipelines.simulator.user import simulate_user

WIDTH = 128
_SPARE = 1.3
"""Events simulated for each behaviour wanted; about 85 % of them are behaviours."""
_HIGH_ACTIVITY = 2
_CHUNK = 65_536


def simulated_life(behaviours: int, items: int, seed: int) -> tuple[Entries, ItemVectors]:
    """A user's behaviours of the simulator, and vectors of its items.

    No model is trained for this: an item's vector, float32 [128], is its theme's, plus half its author's, plus half one
    of its own, each drawn from a normal distribution of variance 1. So items of a theme lie together, as in a trained
    model's item table, which learns themes from authors and topics, and no two items are equal.

    Args:
        behaviours: How many, the latest of a longer simulated life.
        items: Size of the catalog.
        seed: Of catalog, life and vectors.
    """
    catalog = make_catalog(items, seed)
    events = simulate_user(catalog, _HIGH_ACTIVITY, round(behaviours * _SPARE) + 20, seed).events
    events = events.filter(events["is_behaviour"].to_numpy() == 1)
    events = events.slice(max(len(events) - behaviours, 0))
    columns = {name: events[name].to_numpy() for name in events.column_names}
    ones = np.ones(len(events), np.int64)
    schema = load_schema("simulated")
    cross = {feature.name: columns[feature.name] for feature in schema.cross}
    life = Entries(columns["item_id"], columns["timestamp"], ones, 0 * ones, cross)
    vectors = ItemVectors(np.arange(1, items + 1), _vectors(catalog, seed), np.ones(WIDTH, np.float32))
    return dataclasses.replace(life, group=groups_of(life, schema, TwinConfig(), vectors)), vectors


def measure(life: Entries, vectors: ItemVectors, config: TwinConfig) -> dict[str, float | int]:
    """Clusters a life once.

    Returns:
        `behaviours`, `clusters`, `seconds`, `cpu_seconds` (of all threads; the clustering has one), `peak_rss_gb` (10^9
        bytes; the whole process), `compression` (clusters over behaviours), `mean_size`, `max_size` and `similarity`,
        the mean over all behaviours of the cosine between the item's vector and the centroid of its cluster.
    """
    with peak_memory() as peak:
        begin, cpu = time.monotonic(), time.process_time()
        label, representative = assign(life, vectors, config, b"1")
        clustered = merge(life, label, representative)
        seconds, cpu_seconds = time.monotonic() - begin, time.process_time() - cpu
    return {
        "behaviours": len(life),
        "clusters": len(clustered),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "peak_rss_gb": round(peak[0] / 1e9, 3),
        "compression": round(len(clustered) / len(life), 4),
        "mean_size": round(len(life) / len(clustered), 2),
        "max_size": int(clustered.size.max()),
        "similarity": round(_similarity(vectors.rows(life.item), label, vectors), 4),
    }


def compare(behaviours: int, items: int, config: TwinConfig, seed: int) -> dict[Clustering, dict[str, float | int]]:
    """`measure` of all methods on the same life."""
    life, vectors = simulated_life(behaviours, items, seed)
    methods: tuple[Clustering, ...] = ("hierarchical", "bisecting", "kmeans", "chunks")
    return {method: measure(life, vectors, dataclasses.replace(config, clustering=method)) for method in methods}


def _vectors(catalog: Catalog, seed: int) -> Floats:
    rng = np.random.default_rng([seed, 2])

    def drawn(count: int) -> Floats:
        return rng.standard_normal((count, WIDTH), np.float32)

    themes, authors = drawn(catalog.themes), drawn(int(catalog.author.max()) + 1)
    result: Floats = themes[catalog.theme]
    result += np.float32(0.5) * authors[catalog.author]
    for start in range(0, len(result), _CHUNK):
        part = result[start : start + _CHUNK]
        part += np.float32(0.5) * drawn(len(part))
    return result


def _similarity(rows: Ints, label: Ints, vectors: ItemVectors) -> float:
    order = np.argsort(label, kind="stable")
    rows, label = rows[order], label[order]
    borders = np.flatnonzero(np.diff(label, prepend=-1))
    total = 0.0
    # Whole clusters at a time, so that memory stays small.
    for first in range(0, len(borders), _CHUNK // 16):
        starts = borders[first : first + _CHUNK // 16]
        last = borders[first + len(starts)] if first + len(starts) < len(borders) else len(rows)
        points = vectors.at(rows[starts[0] : last])
        sizes = np.diff(np.append(starts, last))
        centroid = np.add.reduceat(points, starts - starts[0]) / sizes[:, np.newaxis]
        centroid = np.repeat(centroid, sizes, axis=0)
        length = np.linalg.norm(points, axis=1) * np.linalg.norm(centroid, axis=1)
        total += float((np.einsum("nd,nd->n", points, centroid) / np.maximum(length, 1e-12)).sum())
    return total / len(rows)
