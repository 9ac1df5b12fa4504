"""UBR4CTR: user behaviour retrieval by BM25 (Qin et al., SIGIR 2020)."""

from collections.abc import Collection

import tensorflow as tf

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.encoders import ABSENT, OUT_OF_VOCABULARY
from model.history import History
from model.item_table import ITEM_ID, ItemTable
from model.rivals.behaviours import newest_first, only_visible
from model.rivals.feature_selection import FeatureSelection
from model.rivals.inverted_index import sum_over_shared_terms
from model.rivals.two_stage import TwoStage
from model.twin import Interest

_VALUE_LIMIT = 1 << 31
_K1, _B = 1.2, 0.75


class UBR4CTR(TwoStage):
    """The target's selected features are a query, behaviours are documents, BM25 ranks them; attention reads the best.

        score(l) = sum over terms f of query and behaviour: IDF(f) (k1 + 1) / (1 + k1 (1 - b + b |D_l| / mean |D|))
        IDF(f) = ln(1 + (n - n_f + 0.5) / (n_f + 0.5))

    n is the number of behaviours that the target may see, n_f how many of them hold f, |D_l| the number of terms of
    behaviour l; a term occurs once or not at all, which is why its frequency does not appear. A behaviour without any
    of the terms is not retrieved. Which of the target's features enter the query, a self-attentive selection decides
    (`FeatureSelection`), trained by policy gradient with the target's log-likelihood as reward; serving takes the
    features that are more likely in than out.

    Differences from the paper: selection and prediction train together instead of in turn, which TWIN's authors give as
    the reason that it does not suit streaming. Statistics are those of the user's own behaviours, whose identifier is
    always in the paper's query, instead of the whole engine's; IDF and k1, b are that engine's (Elasticsearch's
    defaults). Values out of vocabulary are no terms, but every item with a row in the table is one. The ESU is TWIN's,
    as for every two-stage model.

    Args:
        config, inherent, cross, table: See `Rival`.
        categorical: Names of the inherent features with a vocabulary; the others' values are buckets.
    """

    def __init__(
        self,
        config: TwinConfig,
        inherent: FeatureEmbeddings,
        cross: FeatureEmbeddings,
        table: ItemTable,
        categorical: Collection[str],
        name: str | None = None,
    ) -> None:
        super().__init__(config, inherent, cross, table, name=name)
        self.categorical = frozenset(categorical)
        self.selection = FeatureSelection(inherent, config.head_dim, name="selection")

    def call(self, target: tf.Tensor, history: History, row: tf.Tensor, training: bool = False) -> Interest:
        """Long-term interest; in training the query is sampled and its log-probability returned. See `Rival.call`."""
        probability = self.selection(self.table.features(row))  # [B, N, F]
        selected = tf.random.uniform(tf.shape(probability)) < probability if training else most_likely(probability)
        position = newest_first(self.bm25(history, row, selected), self.config.retrieved)
        log_policy = log_probability(probability, selected) if training else None
        return Interest(position, self.attend(target, history, position), log_policy=log_policy)

    def scores(self, target: tf.Tensor, history: History, row: tf.Tensor) -> tf.Tensor:
        """BM25 of the most likely query, -inf where no term is shared."""
        del target
        return self.bm25(history, row, most_likely(self.selection(self.table.features(row))))

    def bm25(self, history: History, row: tf.Tensor, selected: tf.Tensor) -> tf.Tensor:
        """Scores float32 [B, N, L] of the query of the features `selected` bool [B, N, F] of items `row`."""
        behaviours = tf.concat(self._terms(history.row), axis=-1)  # [B, L, T]
        query = [
            tf.where(selected[..., at : at + 1], terms, tf.zeros([], tf.int64))
            for at, terms in enumerate(self._terms(row))
        ]
        visible = tf.cast(history.visible(), tf.float32)  # [B, N', L]
        documents = tf.reduce_sum(visible, axis=-1, keepdims=True)  # n [B, N', 1]

        def idf(holders: tf.Tensor) -> tf.Tensor:
            held_by = tf.cast(holders, tf.float32)
            return tf.math.log1p((documents - held_by + 0.5) / (held_by + 0.5))

        matched = sum_over_shared_terms(behaviours, tf.concat(query, axis=-1), history, idf)
        length = tf.math.count_nonzero(behaviours, axis=-1, dtype=tf.float32)[:, tf.newaxis]  # |D_l| [B, 1, L]
        mean = tf.reduce_sum(visible * length, axis=-1, keepdims=True) / tf.maximum(documents, 1.0)
        of_length = (_K1 + 1) / (1 + _K1 * (1 - _B + _B * length / tf.maximum(mean, 1.0)))
        return only_visible(tf.where(matched > 0, matched * of_length, -float("inf")), history)

    def _terms(self, row: tf.Tensor) -> list[tf.Tensor]:
        """Terms of rows int32 [...], per feature int64 [..., W]: feature and value in one number; 0 = none."""
        terms = []
        for at, (feature, index) in enumerate(self.table.features(row).items()):
            # An item is a term even where it is seen too rarely for an embedding of its own.
            index = row if feature == ITEM_ID else index
            values = index if index.shape.rank > row.shape.rank else index[..., tf.newaxis]
            values = tf.cast(values, tf.int64)
            none = OUT_OF_VOCABULARY if feature in self.categorical else ABSENT
            terms.append(tf.where(values > none, values + at * _VALUE_LIMIT, tf.zeros([], tf.int64)))
        return terms


def most_likely(probability: tf.Tensor) -> tf.Tensor:
    """Features with probability at least 1/2, all where there is none: float32 [B, N, F] to bool [B, N, F]."""
    likely = probability >= 0.5
    return likely | ~tf.reduce_any(likely, axis=-1, keepdims=True)


def log_probability(probability: tf.Tensor, selected: tf.Tensor) -> tf.Tensor:
    """Logarithm of the probability float32 [B, N] of selecting just these, each feature on its own."""
    chosen = tf.where(selected, probability, 1.0 - probability)
    return tf.reduce_sum(tf.math.log(tf.maximum(chosen, 1e-6)), axis=-1)
