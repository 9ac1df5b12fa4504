"""The long-term interest module, chosen by one value of the configuration."""

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.errors import UserError
from model.item_table import ItemTable
from model.rivals.avg_pooling import AvgPooling
from model.rivals.dien import DIEN
from model.rivals.din import DIN
from model.rivals.eta import ETA
from model.rivals.mimn import MIMN
from model.rivals.sdim import SDIM
from model.rivals.sim_cluster import SimCluster
from model.rivals.sim_cluster_plus import SimClusterPlus
from model.rivals.sim_hard import SimHard
from model.rivals.sim_soft import SimSoft
from model.rivals.twin_raw_mhta import TwinRawMhta
from model.rivals.twin_without_bias import TwinWithoutBias
from model.rivals.twin_without_consistency import TwinWithoutConsistency
from model.rivals.ubr4ctr import UBR4CTR
from model.schema import DatasetSchema
from model.twin import TWIN

_PLAIN = {
    "twin": TWIN,
    "twin_v2": TWIN,  # what differs is in the history: its entries have sizes
    "avg_pooling": AvgPooling,
    "din": DIN,
    "dien": DIEN,
    "mimn": MIMN,
    "sim_soft": SimSoft,
    "sim_cluster": SimCluster,
    "sim_cluster_plus": SimClusterPlus,
    "eta": ETA,
    "sdim": SDIM,
    "twin_raw_mhta": TwinRawMhta,
    "twin_without_bias": TwinWithoutBias,
}


class CategoryError(UserError):
    """There is no category to search by."""


def make_interest(
    config: TwinConfig,
    schema: DatasetSchema,
    inherent: FeatureEmbeddings,
    cross: FeatureEmbeddings,
    table: ItemTable,
    auxiliary: TWIN | None = None,
) -> tf.keras.layers.Layer:
    """The module that `config.interest` names.

    Whatever it is, it has

    - `call(target float32 [B, N, H], history, row int32 [B, N], training) -> Interest`,
    - `project(index) -> float32 [M, h * d_k]`, what the item table stores of M items,
    - `width`, of the output, and `reads_projections`, whether its search reads the item table's projections.

    Args:
        config: The configuration.
        schema: Names the category of `sim_hard`, and the features with vocabularies.
        inherent: Embeddings of inherent features, shared with the target.
        cross: Embeddings of cross features.
        table: The item table.
        auxiliary: For `twin_without_consistency`, the TWIN whose parameters the search takes.

    Raises:
        CategoryError: If `sim_hard` has no category to search by.
    """
    shared = (config, inherent, cross, table)
    if config.interest == "sim_hard":
        return SimHard(*shared, category=category_feature(config, schema), name="sim_hard")
    if config.interest == "ubr4ctr":
        return UBR4CTR(*shared, categorical=_categorical(schema), name="ubr4ctr")
    if config.interest == "twin_without_consistency":
        assert auxiliary is not None
        return TwinWithoutConsistency(*shared, auxiliary=auxiliary, name="twin_without_consistency")
    return _PLAIN[config.interest](*shared, name=config.interest)


def categories(schema: DatasetSchema) -> list[str]:
    """The inherent features that are fit to be a category: lists first, which are tags or topics, then narrow ones.

    Wide ones, often authors, are not among them, but `category_feature` of the configuration may name one.
    """
    categorical = [feature for feature in schema.inherent if not feature.numeric]
    lists = [feature.name for feature in categorical if feature.multi_hot]
    return lists + [feature.name for feature in categorical if not feature.multi_hot and not feature.wide]


def category_feature(config: TwinConfig, schema: DatasetSchema) -> str:
    """The inherent feature that is an item's category.

    Raises:
        CategoryError: If the configured one is no categorical inherent feature, or there is none.
    """
    names = _categorical(schema)
    if config.category_feature is None:
        possible = categories(schema)
        if not possible:
            mend = f"set category_feature to one of {names}" if names else "no feature of items is categorical; add one"
            raise CategoryError(f"schema {schema.name!r} has no category; {mend}")
        return possible[0]
    if config.category_feature not in names:
        raise CategoryError(
            f"category_feature {config.category_feature!r} is no categorical inherent feature of schema "
            f"{schema.name!r}; it has {names}"
        )
    return config.category_feature


def _categorical(schema: DatasetSchema) -> list[str]:
    """The inherent features with a vocabulary."""
    return [feature.name for feature in schema.inherent if not feature.numeric]
