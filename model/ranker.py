"""The CTR model: TWIN, short-term module and other features into an MLP (section 3.2)."""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf
import tensorflow_recommenders as tfrs

from model.config import TwinConfig
from model.embedding import FeatureEmbeddings
from model.encoders import Encoders, feature_key
from model.errors import UserError
from model.feature import AGE
from model.interest import make_interest
from model.item_table import ITEM_ID, ItemTable
from model.optimizer import adagrad_and_adam
from model.request import RawBatch, RequestEncoder
from model.schema import DatasetSchema
from model.search_features import empty_search_features
from model.short_term import ShortTerm
from model.twin import TWIN, Interest


class TwinRanker(tfrs.models.Model):
    """Predicted CTR of every candidate: sigmoid(MLP([TWIN, short-term, item, user, context])) (Eq. 1).

    `config.interest` puts another long-term interest module in TWIN's place.

    Args:
        schema: The data set's columns.
        encoders: Their vocabularies and buckets.
        config: Widths, lengths, rates.
        known_items: Number of item ids with an embedding of their own; the item table holds indices 0 (none) to this.
        multi_hot_widths: Values kept per multi-hot inherent feature.
        item_table: The item table of the ranker that this one is auxiliary to; None makes one.

    Attributes:
        long_term: The long-term interest module; `twin` where it is TWIN.
        auxiliary: A second ranker trained beside this one, for `twin_without_consistency`, or None.
    """

    def __init__(
        self,
        schema: DatasetSchema,
        encoders: Encoders,
        config: TwinConfig,
        known_items: int,
        multi_hot_widths: Mapping[str, int],
        item_table: ItemTable | None = None,
    ) -> None:
        super().__init__(name="twin_ranker")
        self.config = config
        widths = {ITEM_ID: None, **{f.name: multi_hot_widths.get(f.name) for f in schema.inherent}}
        self.item_table = item_table or ItemTable(
            widths, config.heads, config.head_dim, config.table_dtype, empty_search_features(config)
        )
        self.request_encoder = RequestEncoder(schema, encoders, self.item_table, config)

        def rows_and_width(role: str, name: str) -> tuple[int, int, None]:
            return encoders.size(f"{role}/{name}"), config.feature_width, None

        self.inherent = FeatureEmbeddings(
            {
                ITEM_ID: (known_items + 1, config.id_width, None),
                **{
                    f.name: (
                        encoders.size(feature_key(f)),
                        config.id_width if f.wide else config.feature_width,
                        config.multi_hot_pooling if f.multi_hot else None,
                    )
                    for f in schema.inherent
                },
            },
            name="inherent",
        )
        cross_names = [f.name for f in schema.cross] + [AGE] * schema.age
        self.cross = FeatureEmbeddings({n: rows_and_width("cross", n) for n in cross_names}, name="cross")
        self.user = FeatureEmbeddings({f.name: rows_and_width("user", f.name) for f in schema.user}, name="user")
        self.context = FeatureEmbeddings(
            {f.name: rows_and_width("context", f.name) for f in schema.context}, name="context"
        )
        self.auxiliary: TwinRanker | None = None
        if config.interest == "twin_without_consistency":
            twin = dataclasses.replace(config, interest="twin")
            self.auxiliary = TwinRanker(schema, encoders, twin, known_items, multi_hot_widths, self.item_table)
        self.long_term = make_interest(
            config, schema, self.inherent, self.cross, self.item_table, self.auxiliary and self.auxiliary.twin
        )
        self.short_term = ShortTerm(config, self.inherent, self.cross, self.item_table, name="short_term")
        self.mlp = tf.keras.Sequential(
            [*(tf.keras.layers.Dense(width, activation="relu") for width in config.mlp), tf.keras.layers.Dense(1)],
            name="mlp",
        )
        width = self.long_term.width + config.projection_dim
        width += self.inherent.width + self.user.width + self.context.width
        self.mlp.build([None, None, width])
        self.task = tfrs.tasks.Ranking(
            loss=tf.keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[] if item_table else [tf.keras.metrics.AUC(from_logits=True, name="auc")],
        )

    @property
    def twin(self) -> TWIN:
        """The long-term interest module of a ranker whose `interest` is `twin`.

        Raises:
            UserError: If it is another.
        """
        if not isinstance(self.long_term, TWIN):
            raise UserError(f"this needs a model with interest: twin, got interest: {self.config.interest}")
        return self.long_term

    def call(self, raw: RawBatch) -> tf.Tensor:
        """A raw batch to predicted CTR float32 [B, N]."""
        return tf.sigmoid(self.logits(raw))

    def logits(self, raw: RawBatch) -> tf.Tensor:
        """A raw batch to f(x) float32 [B, N]."""
        return self.score(raw)[0]

    def score(self, raw: RawBatch, training: bool = False) -> tuple[tf.Tensor, Interest]:
        """A raw batch to logits float32 [B, N] and the long-term interest behind them."""
        history = self.request_encoder.history(raw)
        row = self.item_table.lookup(raw["candidate/item_id"])
        target = self.inherent(self.item_table.features(row))  # [B, N, H]
        interest = self.long_term(target, history, row, training=training)
        parts = [interest.attended.output, self.short_term(target, history), target]
        candidates = tf.shape(target)[:2]
        for embeddings, index in (
            (self.user, self.request_encoder.user(raw)),
            (self.context, self.request_encoder.context(raw)),
        ):
            if index:
                embedded = embeddings(index)  # [B, 1 or N, width]
                parts.append(tf.broadcast_to(embedded, [*tf.unstack(candidates), embedded.shape[-1]]))
        return tf.squeeze(self.mlp(tf.concat(parts, axis=-1)), axis=-1), interest

    def compute_loss(self, inputs: RawBatch, training: bool = False) -> tf.Tensor:
        """Mean negative log-likelihood (Eq. 2) over the targets of a window batch; padding targets have weight 0.

        What the long-term interest module, or the auxiliary ranker, learns by comes on top.
        """
        real = inputs["weight"] > 0
        logits, interest = self.score(inputs, training)
        labels, logits = tf.boolean_mask(inputs["label"], real), tf.boolean_mask(logits, real)
        loss = self.task(labels=labels, predictions=logits, compute_metrics=True)
        if interest.loss is not None:
            loss += interest.loss
        if interest.log_policy is not None:
            loss += policy_loss(tf.boolean_mask(interest.log_policy, real), labels, logits)
        return loss if self.auxiliary is None else loss + self.auxiliary.compute_loss(inputs, training)

    @tf.autograph.experimental.do_not_convert
    def train_step(self, inputs: RawBatch) -> dict[str, tf.Tensor]:
        """One step of training, traced without AutoGraph: nothing here needs it, and it takes most of the tracing."""
        return super().train_step(inputs)

    def project_rows(self, row: tf.Tensor) -> tf.Tensor:
        """Current projections K_h W^h float32 [M, h * d_k] of table rows int32 [M]."""
        return self.long_term.project(self.item_table.features(row))

    def embeddings_by_name(self) -> dict[str, tf.Variable]:
        """Embedding dictionaries keyed `<role>/<feature>`, the item id's `inherent/item_id`.

        Those of the auxiliary ranker have `auxiliary/` before that.
        """
        groups = {"inherent": self.inherent, "cross": self.cross, "user": self.user, "context": self.context}
        own = {f"{role}/{name}": e.table for role, group in groups.items() for name, e in group.embeddings.items()}
        others = self.auxiliary.embeddings_by_name() if self.auxiliary else {}
        return own | {f"auxiliary/{name}": table for name, table in others.items()}

    def embedding_variables(self) -> list[tf.Variable]:
        """The embedding dictionaries, which AdaGrad trains."""
        return list(self.embeddings_by_name().values())

    def dense_variables(self) -> list[tf.Variable]:
        """All other trainable variables, which Adam trains."""
        embeddings = {v.ref() for v in self.embedding_variables()}
        return [v for v in self.trainable_variables if v.ref() not in embeddings]

    def optimizer_for_training(self) -> tf.keras.optimizers.Optimizer:
        """AdaGrad for embeddings, Adam for the rest (section 4.3)."""
        return adagrad_and_adam(self.config, self.embedding_variables, self.dense_variables)


def policy_loss(log_policy: tf.Tensor, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """REINFORCE: -mean((r - mean(r)) log pi), the reward r being a target's log-likelihood; all float32 [M]."""
    reward = -tf.nn.sigmoid_cross_entropy_with_logits(labels, tf.stop_gradient(logits))
    advantage = reward - tf.reduce_mean(reward)
    return -tf.reduce_mean(advantage * log_policy)
