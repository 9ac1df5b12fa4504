"""Ablation: TWIN without consistent parameters (TWIN, section 4.7, "TWIN w/o Para-Con")."""

from collections.abc import Mapping

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.history import History
from model.item_table import ItemTable
from model.rivals.two_stage import TwoStage
from model.twin import TWIN


class TwinWithoutConsistency(TwoStage):
    """TWIN whose search takes all its parameters from TWIN-aux, a TWIN trained on its own.

    The paper trains TWIN-aux, of the same structure and on the same data, separately, and keeps copying its search
    parameters into this model's GSU. Here TWIN-aux is a whole second CTR model with embeddings, short-term module, MLP
    and a loss of its own, trained beside this one on the same batches: the two share no trainable parameter, so their
    gradients are those of two separate trainings, and the search is in step with TWIN-aux at every moment, but for the
    keys, which are as old as the item table, as TWIN's are.

    Embeddings, W^h, W^q, w_j and beta of the search are TWIN-aux's; the item table holds TWIN-aux's projections.

    Args:
        config, inherent, cross, table: See `Rival`.
        auxiliary: The TWIN of TWIN-aux, on the same item table.
    """

    reads_projections = True

    def __init__(
        self,
        config: TwinConfig,
        inherent: FeatureEmbeddings,
        cross: FeatureEmbeddings,
        table: ItemTable,
        auxiliary: TWIN,
        name: str | None = None,
    ) -> None:
        super().__init__(config, inherent, cross, table, name=name)
        self.auxiliary = auxiliary

    def search(self, target: tf.Tensor, history: History, row: tf.Tensor) -> tf.Tensor:
        """Retrieves what TWIN-aux would."""
        del target
        relevance = self.auxiliary.relevance
        query = relevance.query(self.auxiliary.esu.inherent(self.table.features(row)))
        return self.auxiliary.cp_gsu(query, history, relevance.bias_tables())

    def project(self, index: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """K_h W^h of M items by TWIN-aux: float32 [M, h * d_k]."""
        return self.auxiliary.project(index)
