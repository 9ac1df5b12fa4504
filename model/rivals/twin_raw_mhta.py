"""Ablation: TWIN with the original multi-head target attention (TWIN, section 4.7, "TWIN w/ Raw MHTA")."""

from collections.abc import Iterable

import tensorflow as tf

from model.config import TwinConfig
from model.cp_gsu import rank_union
from model.embedding import FeatureEmbeddings
from model.esu import Attended, masked_softmax
from model.feature import AGE
from model.history import History
from model.item_table import ItemTable
from model.relevance import Relevance
from model.rivals.behaviours import embed_behaviours, embed_items, only_visible
from model.rivals.rival import Rival
from model.twin import Interest


class TwinRawMhta(Rival):
    """Both stages weigh behaviours by an undivided linear projection of all their features.

        alpha_a = (K W_a)(q^T W_a^q)^T / sqrt(d_k),  K = [K_h K_c],  W_a in R^((H + C) x d_k)
        head_a = Softmax(alpha_a)^T K W_a^v,  output = Concat(head_1, ..., head_h) W^o

    No split of features, no bias, no projections in the item table: K W is computed in the request for all L
    behaviours, O(L (H + C) h d_k) (section 3.3.2). The stages share their parameters, as in TWIN.

    In training, where a behaviour's age differs from target to target, the age's part of K W is not formed for each
    pair: (E W)(q^T W^q)^T is taken once per bucket of age and looked up, which is equal.

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
        heads, head_dim, width = config.heads, config.head_dim, config.projection_dim
        self.of_inherent = Relevance(heads, head_dim, inherent.width, cross, bias=False, name="of_inherent")
        if config.similarity_start:
            self.of_inherent.start_as_similarity(config.similarity_start * inherent.relative_widths())
        self.cross_kernels = {
            feature: self.add_weight(f"cross_kernel_{feature}", [embedding.width, width])
            for feature, embedding in cross.embeddings.items()
        }  # of W the rows of every feature of K_c; those of K_h and W^q are in `of_inherent`
        self.value_kernel = self.add_weight("value_kernel", [heads, inherent.width + cross.width, head_dim])
        self.output_kernel = self.add_weight("output_kernel", [width, width])

    def interest(self, target: tf.Tensor, history: History, row: tf.Tensor) -> Interest:
        """Searches and attends."""
        del row
        query = self.of_inherent.query(target)
        position = rank_union(tf.stop_gradient(self.relevance_of_history(query, history)), self.config.retrieved)
        return Interest(position, self._attend(query, history, position))

    def relevance_of_history(self, query: tf.Tensor, history: History) -> tf.Tensor:
        """Relevance float32 [B, h, N, L] of all behaviours to queries [B, N, h, d_k], -inf where invisible."""
        one_age = history.target_timestamp.shape[1] == 1
        features = {f: index for f, index in history.cross.items() if f in self.cross_kernels}
        if AGE in self.cross_kernels and one_age:
            features[AGE] = tf.squeeze(history.ages(), axis=1)
        parts = [embed_items(self.inherent, self.table, history.row)]  # K [B, L, H + C]
        parts += [self.cross.embeddings[feature](index) for feature, index in features.items()]
        kernel = self._kernel(features)
        keys = self._by_head(tf.tensordot(tf.concat(parts, axis=-1), kernel, 1))  # K W [B, L, h, d_k]
        alpha = tf.einsum("bnhd,blhd->bhnl", query, keys) + only_visible(tf.zeros([]), history)[:, tf.newaxis]
        if AGE in self.cross_kernels and not one_age:
            alpha += self._of_ages(query, history)
        return alpha

    def _attend(self, query: tf.Tensor, history: History, position: tf.Tensor) -> Attended:
        behaviours = embed_behaviours(self.inherent, self.cross, self.table, history, position)  # K [B, N, K, H + C]
        kernel = self._kernel(self.cross_kernels)
        # (K W) q = K (W q): h queries meet W instead of K behaviours.
        wanted = tf.einsum("bnhd,chd->bnhc", query, self._by_head(kernel))
        alpha = tf.matmul(wanted, behaviours, transpose_b=True)  # [B, N, h, K]
        visible = (position >= 0)[:, :, tf.newaxis]
        attention = masked_softmax(alpha, visible)
        heads = tf.einsum("bnhc,hcd->bnhd", tf.matmul(attention, behaviours), self.value_kernel)
        joined = tf.reshape(heads, tf.concat([tf.shape(heads)[:2], [self.width]], axis=0))
        output = tf.tensordot(joined, self.output_kernel, 1)
        return Attended(output, tf.where(visible, alpha, -float("inf")), attention)

    def _of_ages(self, query: tf.Tensor, history: History) -> tf.Tensor:
        """The age's part of alpha, float32 [B, h, N, L]."""
        keys = self._by_head(tf.matmul(self.cross.embeddings[AGE].dictionary(), self.cross_kernels[AGE]))
        by_bucket = tf.einsum("bnhd,khd->hbnk", query, keys)  # [h, B, N, buckets]
        age = history.ages()
        return tf.stack([tf.gather(of_head, age, batch_dims=2) for of_head in tf.unstack(by_bucket)], axis=1)

    def _kernel(self, features: Iterable[str]) -> tf.Tensor:
        """W's rows of K_h and of some cross features, float32 [H + ..., h * d_k]."""
        return tf.concat([self.of_inherent.inherent_kernel, *(self.cross_kernels[f] for f in features)], axis=0)

    def _by_head(self, projected: tf.Tensor) -> tf.Tensor:
        """[..., h * d_k] to [..., h, d_k]."""
        return tf.reshape(
            projected, tf.concat([tf.shape(projected)[:-1], [self.config.heads, self.config.head_dim]], axis=0)
        )
