"""SIM Cluster: search by cluster (TWIN, section 4.2)."""

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.history import History
from model.item_table import ItemTable
from model.rivals.sim_hard import shared_categories
from model.rivals.two_stage import TwoStage


class SimCluster(TwoStage):
    """SIM Hard with clusters in place of categories, which are coarse and unreliable for short videos.

    Items are grouped into 1,000 clusters by their pre-trained embeddings, outside the model; the GSU retrieves the
    behaviours of the target's cluster, the newest first.

    The item table holds `search["cluster"]`: int32 [R], 1 to 1,000; 0 = no cluster, which no item shares.

    Args:
        config, inherent, cross, table: See `Rival`.
    """

    clusters = 1_000

    def __init__(
        self,
        config: TwinConfig,
        inherent: FeatureEmbeddings,
        cross: FeatureEmbeddings,
        table: ItemTable,
        name: str | None = None,
    ) -> None:
        super().__init__(config, inherent, cross, table, name=name)
        self.cluster = table.search["cluster"]

    def scores(self, target: tf.Tensor, history: History, row: tf.Tensor) -> tf.Tensor:
        """1 in the target's cluster, else -inf."""
        del target
        return shared_categories(self.cluster, history, row)
