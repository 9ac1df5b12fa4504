"""Two-stage rivals: a search unit, then the exact search unit of TWIN with a relevance of its own."""

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.esu import Attended, ExactSearchUnit
from model.history import History
from model.item_table import ItemTable
from model.relevance import Relevance
from model.rivals.behaviours import newest_first
from model.rivals.rival import Rival
from model.twin import Interest


class TwoStage(Rival):
    """A general search unit of its own before the exact search unit that all two-stage models share (section 4.2).

    A rival is its `scores`, or its `search` where it does not score every behaviour. The K behaviours of highest score
    go to the ESU, among equal ones the newest, since the coarse metrics tie often and recent behaviours say more. No
    gradient runs through the search.

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
        self.relevance = Relevance(config.heads, config.head_dim, inherent.width, cross, name="relevance")
        if config.similarity_start:
            self.relevance.start_as_similarity(config.similarity_start * inherent.relative_widths())
        self.esu = ExactSearchUnit(self.relevance, inherent, table, name="esu")

    def scores(self, target: tf.Tensor, history: History, row: tf.Tensor) -> tf.Tensor:
        """The search unit's own relevance.

        Args:
            target: float32 [B, N, H].
            history: The users' behaviours.
            row: int32 [B, N], the candidates' rows in the item table.

        Returns:
            float32 [B, N, L], -inf where a behaviour is invisible or must not be retrieved.
        """
        raise NotImplementedError

    def search(self, target: tf.Tensor, history: History, row: tf.Tensor) -> tf.Tensor:
        """Positions int32 [B, N, K] of the retrieved behaviours, -1 where there are fewer."""
        return newest_first(self.scores(target, history, row), self.config.retrieved)

    def interest(self, target: tf.Tensor, history: History, row: tf.Tensor) -> Interest:
        """Searches, then attends (Eq. 5 to 8)."""
        position = self.search(target, history, row)
        return Interest(position, self.attend(target, history, position))

    def attend(self, target: tf.Tensor, history: History, position: tf.Tensor) -> Attended:
        """The ESU over the retrieved behaviours (Eq. 7, 8)."""
        return self.esu(self.relevance.query(target), history, position, self.relevance.bias_tables())
