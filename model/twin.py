"""TWIN: CP-GSU and ESU around one relevance layer (section 3.3)."""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from model.config import TwinConfig
from model.cp_gsu import ConsistencyPreservedGSU
from model.embedding import FeatureEmbeddings
from model.esu import Attended, ExactSearchUnit
from model.history import History
from model.item_table import ItemTable
from model.relevance import Relevance


@dataclasses.dataclass(frozen=True)
class Interest:
    """Long-term interest in each candidate, and where it comes from.

    Attributes:
        position: int32 [B, N, K], the retrieved behaviours, -1 = none.
        attended: The ESU's output, relevance and attention over them.
        loss: float32 scalar that training adds to the loss, or None.
        log_policy: float32 [B, N], log-probability of what was sampled in training, which a policy gradient with the
            target's log-likelihood as reward trains, or None.
    """

    position: tf.Tensor
    attended: Attended
    loss: tf.Tensor | None = None
    log_policy: tf.Tensor | None = None


class TWIN(tf.keras.layers.Layer):
    """Long-term interest of a user in each candidate, from the whole history (Eq. 4 to 8).

    The CP-GSU reads projections from the item table, which may be older than the weights; the ESU projects with the
    current ones (section 3.4.3). Query, relevance and cross features are the same objects in both.

    Args:
        config: Widths and lengths.
        inherent: Embeddings of inherent features, shared with the target.
        cross: Embeddings of cross features.
        table: The item table.

    Attributes:
        width: Of the output.
        reads_projections: Whether the search reads the item table's projections.
        bias: Whether cross features have a part in the relevance.
    """

    reads_projections = True
    bias = True

    def __init__(
        self,
        config: TwinConfig,
        inherent: FeatureEmbeddings,
        cross: FeatureEmbeddings,
        table: ItemTable,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.width = config.projection_dim
        self.relevance = Relevance(config.heads, config.head_dim, inherent.width, cross, self.bias, name="relevance")
        if config.similarity_start:
            self.relevance.start_as_similarity(config.similarity_start * inherent.relative_widths())
        self.cp_gsu = ConsistencyPreservedGSU(self.relevance, table, config.retrieved, name="cp_gsu")
        self.esu = ExactSearchUnit(self.relevance, inherent, table, name="esu")

    def call(self, target: tf.Tensor, history: History, row: tf.Tensor, training: bool = False) -> Interest:
        """Candidates' inherent features float32 [B, N, H] and their users' histories to their interest."""
        del row, training
        query = self.relevance.query(target)
        bias_tables = self.relevance.bias_tables()
        position = self.cp_gsu(query, history, bias_tables)
        return Interest(position, self.esu(query, history, position, bias_tables))

    def project(self, index: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Inherent feature indices of M items to what the item table stores of them: float32 [M, h * d_k]."""
        return self.relevance.project(self.esu.inherent(index))
