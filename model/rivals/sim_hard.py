"""SIM Hard: search by category (Pi et al., CIKM 2020)."""

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.encoders import ABSENT, OUT_OF_VOCABULARY
from model.history import History
from model.item_table import ItemTable
from model.rivals.behaviours import only_visible
from model.rivals.inverted_index import sum_over_shared_terms
from model.rivals.two_stage import TwoStage


class SimHard(TwoStage):
    """The GSU takes the behaviours of the target's category; the ESU attends to them.

        r_i = Sign(C_i = C_a)        (SIM, Eq. 1, hard search)

    C_i is the category of behaviour i, C_a that of the target. As in SIM the behaviours are found through an inverted
    index of each user's categories.

    Differences from the paper: the category is any inherent feature (`category_feature`); what its vocabulary does not
    hold is none. Where it is multi-hot, behaviours that share more values come first. SIM's ESU embeds the time between
    behaviour and target, here the cross feature `age`, and is multi-head target attention, here TWIN's, as for every
    two-stage model.

    Args:
        config, inherent, cross, table: See `Rival`.
        category: The inherent feature to search by.
    """

    def __init__(
        self,
        config: TwinConfig,
        inherent: FeatureEmbeddings,
        cross: FeatureEmbeddings,
        table: ItemTable,
        category: str,
        name: str | None = None,
    ) -> None:
        super().__init__(config, inherent, cross, table, name=name)
        self.categories = table.index[category]

    def scores(self, target: tf.Tensor, history: History, row: tf.Tensor) -> tf.Tensor:
        """Number of categories shared, -inf for none."""
        del target
        return shared_categories(self.categories, history, row, none=OUT_OF_VOCABULARY)


def shared_categories(categories: tf.Variable, history: History, row: tf.Tensor, none: int = ABSENT) -> tf.Tensor:
    """Number of categories that behaviour and target share, float32 [B, N, L]; -inf for none.

    Args:
        categories: int32 [R] or [R, W], of every row of the item table.
        history: The users' behaviours.
        row: int32 [B, N], the targets' rows.
        none: Up to this a value is no category.
    """

    def terms(of: tf.Tensor) -> tf.Tensor:
        found = tf.cast(tf.gather(categories, of), tf.int64)
        found = tf.where(found > none, found, 0)
        return found if categories.shape.rank == 2 else found[..., tf.newaxis]

    shared = sum_over_shared_terms(
        terms(history.row), terms(row), history, lambda holders: tf.ones_like(holders, tf.float32)
    )
    return only_visible(tf.where(shared > 0, shared, -float("inf")), history)
