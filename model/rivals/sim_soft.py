"""SIM Soft: search by pre-trained embeddings (Pi et al., CIKM 2020)."""

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.history import History
from model.item_table import ItemTable
from model.rivals.behaviours import only_visible
from model.rivals.two_stage import TwoStage


class SimSoft(TwoStage):
    """The GSU ranks behaviours by the inner product of pre-trained item embeddings.

        r_i = (W_b e_i) . (W_a e_a)        (SIM, Eq. 1, soft search)

    As in TWIN (section 4.2) e are pre-trained item embeddings and their inner product is the score: W_a and W_b belong
    to SIM's auxiliary task that trains e, whose part the pre-training takes (`pipelines.pretrained_search` trains
    `model.sim_auxiliary`). The search is exact; SIM approximates it by maximum inner product search. The ESU is TWIN's,
    as for every two-stage model.

    The item table holds `search["embedding"]`: float32 [R, search_width]; zero = no embedding. Such a behaviour scores
    0, and for such a target the newest behaviours are retrieved.

    Args:
        config, inherent, cross, table: See `Rival`.
    """

    def __init__(
        self,
        config: TwinConfig,
        inherent: FeatureEmbeddings,
        cross: FeatureEmbeddings,
        table: ItemTable,
        name: str | None = None,
    ) -> None:
        super().__init__(config, inherent, cross, table, name=name)
        self.embedding = table.search["embedding"]

    def scores(self, target: tf.Tensor, history: History, row: tf.Tensor) -> tf.Tensor:
        """Inner products."""
        del target
        of_targets, of_behaviours = tf.gather(self.embedding, row), tf.gather(self.embedding, history.row)
        return only_visible(tf.matmul(of_targets, of_behaviours, transpose_b=True), history)
