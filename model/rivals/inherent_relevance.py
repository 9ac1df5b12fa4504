"""Relevance by inherent features alone."""

import tensorflow as tf

from model.embedding import FeatureEmbeddings
from model.relevance import Relevance


class InherentRelevance(Relevance):
    """Eq. 6 without its second term: no cross feature has a kernel.

    Args:
        heads, head_dim, inherent_width: See `Relevance`.
        cross: Embeddings of the cross features, which an ESU still pools.
    """

    def __init__(
        self, heads: int, head_dim: int, inherent_width: int, cross: FeatureEmbeddings, name: str | None = None
    ) -> None:
        # Not Relevance's own: a weight that is never used would never have a gradient.
        tf.keras.layers.Layer.__init__(self, name=name)
        self.heads, self.head_dim, self.cross = heads, head_dim, cross
        self.inherent_kernel = self.add_weight("inherent_kernel", [inherent_width, heads * head_dim])
        self.query_kernel = self.add_weight("query_kernel", [inherent_width, heads * head_dim])
        self.cross_kernels: dict[str, tf.Variable] = {}
