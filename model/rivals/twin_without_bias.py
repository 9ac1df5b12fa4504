"""Ablation: TWIN without the cross features' bias (TWIN, section 4.7, "TWIN w/o Bias")."""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from model.config import TwinConfig
from model.cp_gsu import ConsistencyPreservedGSU
from model.embedding import FeatureEmbeddings
from model.history import History
from model.item_table import ItemTable
from model.relevance import Relevance
from model.rivals.two_stage import TwoStage


class TwinWithoutBias(TwoStage):
    """TWIN whose relevance is the inner product of inherent features alone, in both stages.

        alpha_a = (K_h W_a^h)(q^T W_a^q)^T / sqrt(d_k)        (Eq. 6 without (K_c W_a^c) beta)

    The values K W^v of Eq. 7 keep the cross features: what is measured is the bias and nothing else. (The paper says
    "without using the user-item cross features in MHTA", which could also mean the values.)

    Args:
        config, inherent, cross, table: See `Rival`.
    """

    reads_projections = True

    def __init__(
        self,
        config: TwinConfig,
        inherent: FeatureEmbeddings,
        cross: FeatureEmbeddings,
        table: ItemTable,
        name: str | None = None,
    ) -> None:
        relevance = Relevance(config.heads, config.head_dim, inherent.width, cross, bias=False, name="relevance")
        super().__init__(config, inherent, cross, table, relevance, name=name)
        self.cp_gsu = ConsistencyPreservedGSU(relevance, table, config.retrieved, name="cp_gsu")

    def search(self, target: tf.Tensor, history: History, row: tf.Tensor) -> tf.Tensor:
        """Retrieves by the relevance of the ESU."""
        del row
        return self.cp_gsu(self.relevance.query(target), dataclasses.replace(history, cross={}), {})

    def project(self, index: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """K_h W^h of M items: float32 [M, h * d_k]."""
        return self.relevance.project(self.inherent(index))
