"""Pre-trained item embeddings and clusters: what SIM's searches read of items, made before the ranker is trained."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.cluster import MiniBatchKMeans

from model.catalog import read_catalog
from model.config import TwinConfig
from model.encoders import Encoders
from model.keras_check import require_keras_2
from model.rivals.sim_cluster import SimCluster
from model.rivals.sim_cluster_plus import SimClusterPlus
from model.schema import DatasetSchema
from model.search_features import SearchArray
from model.sim_auxiliary import SimAuxiliary
from model.train import DivergedError, Progress, Report, fit_model

CLUSTERS = {"sim_cluster": SimCluster.clusters, "sim_cluster_plus": SimClusterPlus.clusters}
"""How many clusters a module's search wants."""
PRE_TRAINED = ("sim_soft", *CLUSTERS)
"""The modules whose search reads something pre-trained of items."""
_ITEMS_PER_CLUSTER = 2
_SMALLEST_BATCH = 4096
_CHUNK = 65_536


@dataclasses.dataclass(frozen=True)
class ItemEmbeddings:
    """Pre-trained embeddings of the catalog's items.

    Attributes:
        ids: int64 [V], ascending.
        values: float32 [V, search_width], their mean over the training events 0.
        seen: bool [V], whether the item occurs in the training events.
    """

    ids: np.ndarray
    values: np.ndarray
    seen: np.ndarray


def fit_search_features(
    schema: DatasetSchema,
    config: TwinConfig,
    encoders: Encoders,
    train_files: Sequence[str],
    catalog_files: Sequence[str],
    progress: Progress = lambda done, total, text: None,
) -> dict[str, SearchArray]:
    """What `model.train.train` takes as `search`, for the module that `config.interest` names.

    `embedding` float32 [V, search_width] for `sim_soft`; `cluster` int32 [V] for `sim_cluster` (1,000) and
    `sim_cluster_plus` (10,000); nothing for the others. To share one pre-training among the three, call
    `pretrain_embeddings` and `features_from`.

    Point in time: only the training split's events are learned from. Items of the catalog without a training event get
    embedding and cluster by their other inherent features. So would items that a later refresh adds, but their place in
    the embeddings' space is not known to the servable: until the next training they have none (0), and `sim_soft`
    retrieves the newest behaviours for them, the other two none.

    Args:
        schema: The data set's columns.
        config: The configuration of the run; the pre-training has its rates, epochs, lengths, `ema_momentum` and seed.
        encoders: Vocabularies and buckets.
        train_files: Per-user Examples of the training split.
        catalog_files: Examples of the items.
        progress: Receives steps done and in all.

    Raises:
        TrainingError: If there is no target to train on.
        DivergedError: If the embeddings are no longer numbers.
    """
    if config.interest not in PRE_TRAINED:
        return {}
    return features_from(pretrain_embeddings(schema, config, encoders, train_files, catalog_files, progress), config)


def features_from(embeddings: ItemEmbeddings, config: TwinConfig) -> dict[str, SearchArray]:
    """What the search of `config.interest`, one of `PRE_TRAINED`, reads; clusters are drawn with `config.seed`."""
    if config.interest in CLUSTERS:
        return {"cluster": cluster_embeddings(embeddings, CLUSTERS[config.interest], config.seed)}
    return {"embedding": SearchArray(embeddings.ids, embeddings.values)}


def pretrain_embeddings(
    schema: DatasetSchema,
    config: TwinConfig,
    encoders: Encoders,
    train_files: Sequence[str],
    catalog_files: Sequence[str],
    progress: Progress = lambda done, total, text: None,
) -> ItemEmbeddings:
    """Trains SIM's auxiliary task (`SimAuxiliary`) from random weights and gives its embeddings W e - m of all items.

    m is the mean of W e over the training events. For the arguments and what is raised see `fit_search_features`.
    """
    require_keras_2()
    tf.keras.utils.set_random_seed(config.seed)
    catalog = read_catalog(catalog_files, schema, encoders, config)
    model = SimAuxiliary(schema, encoders, config, catalog)
    fit_model(model, schema, train_files, lambda steps: [Report(progress, steps)])
    rows = range(0, len(catalog.item_id), _CHUNK)
    parts = [{name: values[start : start + _CHUNK] for name, values in catalog.index.items()} for start in rows]
    values = np.concatenate([model.project(part).numpy() for part in parts])
    if not np.isfinite(values).all():
        raise DivergedError(
            "the pre-trained embeddings are not numbers; lower embedding_learning_rate or dense_learning_rate"
        )
    events = catalog.frequency.sum()
    mean = catalog.frequency @ values / events if events else 0
    return ItemEmbeddings(catalog.item_id, (values - mean).astype(np.float32), catalog.frequency > 0)


def cluster_embeddings(embeddings: ItemEmbeddings, clusters: int, seed: int) -> SearchArray:
    """Groups items by the direction of their embeddings: k-means in mini-batches, on vectors of length 1.

    Centroids are those of the items seen in training; all others join the nearest. There are at most half as many
    clusters as items seen in training, since in clusters of one item none finds another; that is logged.

    Args:
        embeddings: Of all items.
        clusters: C.
        seed: Of the first centroids and the batches.

    Returns:
        int32 [V], 1 to C; 0 = none, for items whose embedding is 0.
    """
    length = np.linalg.norm(embeddings.values, axis=1, keepdims=True)
    placed = length[:, 0] > 0
    directions = embeddings.values / np.maximum(length, np.finfo(np.float32).tiny)
    learned = directions[placed & embeddings.seen]
    cluster = np.zeros(len(embeddings.ids), np.int32)
    if len(learned):
        most = max(1, len(learned) // _ITEMS_PER_CLUSTER)
        if most < clusters:
            logging.warning("%d clusters instead of %d: training saw only %d items", most, clusters, len(learned))
        size = min(clusters, most)
        # Random items as first centroids: k-means++ takes longer for 10,000 than all that follows.
        kmeans = MiniBatchKMeans(
            size, init="random", n_init=1, batch_size=max(_SMALLEST_BATCH, size), random_state=seed
        ).fit(learned)
        cluster[placed] = 1 + kmeans.predict(directions[placed])
    return SearchArray(embeddings.ids, cluster)


def save_search_features(features: Mapping[str, SearchArray], folder: Path) -> None:
    """Writes one `<name>.npz` an array, with `ids` and `values`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in features.items():
        np.savez(folder / f"{name}.npz", ids=array.ids, values=array.values)


def load_search_features(folder: Path) -> dict[str, SearchArray]:
    """Reads what `save_search_features` wrote."""
    features = {}
    for file in sorted(folder.glob("*.npz")):
        with np.load(file, allow_pickle=False) as content:
            features[file.stem] = SearchArray(content["ids"], content["values"])
    return features
