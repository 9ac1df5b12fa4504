"""SIM's auxiliary CTR task, which pre-trains the item embeddings of its soft search (Pi et al., CIKM 2020)."""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf
import tensorflow_recommenders as tfrs

from model.catalog import CatalogRows
from model.config import TwinConfig
from model.encoders import Encoders
from model.history import History
from model.optimizer import adagrad_and_adam
from model.ranker import TwinRanker
from model.request import RawBatch
from model.rivals.behaviours import embed_items
from model.schema import DatasetSchema


class SimAuxiliary(tfrs.models.Model):
    """Predicts clicks from nothing but the target and its inner products with the whole history.

        r_i = (W e_i - m) . (W e_a - m)            (SIM, Eq. 1, soft search)
        U_r = sum_i r_i [e_i c_i] / n              (SIM, Eq. 2)
        logit = MLP([U_r, e_a])

    e are an item's inherent features, c_i a behaviour's cross features, n the number of behaviours that the target
    may see, m the mean of W e_i over what the batch's targets may see. Since r is all that relates target and
    behaviours before the MLP, the training makes it large where behaviour i says much about target a: W e - m are
    the embeddings by which `sim_soft` searches.

    Differences from the paper: one W serves behaviours and targets (SIM: W_b and W_a), as the search knows one
    embedding of an item. Without m, what all items share would grow until r is nearly constant, which pools the
    history evenly and leaves the MLP to tell targets apart; inner products would then say little of similarity. In
    training m, like the statistics of batch normalisation, is of all targets of a batch, of other users and later
    ones too, all of the train split. U_r holds cross features too, so that a history of likes and dislikes tells
    them apart; the age of a behaviour, which depends on the target, stays out. Division by n, and batch
    normalisation before the MLP as in the authors' code, keep the scale of long and short histories alike. Long
    histories are cut to the last `history_length` behaviours, where SIM samples a part of them.

    Args:
        schema: The data set's columns.
        encoders: Their vocabularies and buckets.
        config: `search_width` of W e; embedding widths, `mlp` and rates are the ranker's.
        catalog: The items.
    """

    def __init__(self, schema: DatasetSchema, encoders: Encoders, config: TwinConfig, catalog: CatalogRows) -> None:
        super().__init__(name="sim_auxiliary")
        self.config = config
        # Only the layers that read raw batches and embed them are kept: the same features, in the same widths.
        plain = dataclasses.replace(config, interest="avg_pooling")
        ranker = TwinRanker(schema, encoders, plain, len(catalog.known_ids), catalog.multi_hot_widths())
        self.item_table, self.request_encoder = ranker.item_table, ranker.request_encoder
        self.inherent = ranker.inherent
        self.item_table.assign(catalog.item_id, catalog.index)
        self.cross = {feature.name: ranker.cross.embeddings[feature.name] for feature in schema.cross}
        self.kernel = self.add_weight("kernel", [self.inherent.width, config.search_width])
        self.normalisation = tf.keras.layers.BatchNormalization(name="normalisation")
        self.mlp = tf.keras.Sequential(
            [*(tf.keras.layers.Dense(width, activation="relu") for width in config.mlp), tf.keras.layers.Dense(1)],
            name="mlp",
        )
        self.task = tfrs.tasks.Ranking(
            loss=tf.keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[tf.keras.metrics.AUC(from_logits=True, name="auc")],
        )

    def compute_loss(self, inputs: RawBatch, training: bool = False) -> tf.Tensor:
        """Mean negative log-likelihood over the targets of a window batch; padding targets have weight 0."""
        row = self.item_table.lookup(inputs["candidate/item_id"])
        target = self.inherent(self.item_table.features(row))  # [B, N, H]
        pooled = self.pool(target, self.request_encoder.history(inputs))  # [B, N, H + C]
        real = inputs["weight"] > 0
        features = tf.boolean_mask(tf.concat([pooled, target], axis=-1), real)
        logits = tf.squeeze(self.mlp(self.normalisation(features, training=training)), axis=-1)
        return self.task(labels=tf.boolean_mask(inputs["label"], real), predictions=logits)

    def pool(self, target: tf.Tensor, history: History) -> tf.Tensor:
        """U_r float32 [B, N, H + C] of targets float32 [B, N, H]; 0 where nothing is visible."""
        items = embed_items(self.inherent, self.item_table, history.row)  # [B, L, H]
        visible = tf.cast(history.visible(), tf.float32)  # [B, N, L]
        seen = tf.maximum(tf.reduce_sum(visible, axis=-1, keepdims=True), 1.0)
        mapped = self._map(items)  # [B, L, D]
        views = tf.reduce_sum(visible, axis=1)  # [B, L]
        mean = tf.einsum("bl,bld->d", views, mapped) / tf.maximum(tf.reduce_sum(views), 1.0)
        relevance = tf.matmul(self._map(target) - mean, mapped - mean, transpose_b=True)  # [B, N, L]
        cross = [self.cross[feature](index) for feature, index in history.cross.items()]
        return tf.matmul(relevance * visible / seen, tf.concat([items, *cross], axis=-1))

    def project(self, index: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Inherent feature indices of M items to W e, float32 [M, search_width]."""
        return self._map(self.inherent(index))

    @tf.autograph.experimental.do_not_convert
    def train_step(self, inputs: RawBatch) -> dict[str, tf.Tensor]:
        """One step of training, traced without AutoGraph: nothing here needs it, and it takes most of the tracing."""
        return super().train_step(inputs)

    def optimizer_for_training(self) -> tf.keras.optimizers.Optimizer:
        """AdaGrad for embeddings, Adam for the rest, as the ranker's."""
        return adagrad_and_adam(self.config, self._embedding_variables, self._dense_variables)

    def _map(self, items: tf.Tensor) -> tf.Tensor:
        return tf.tensordot(items, self.kernel, 1)

    def _embedding_variables(self) -> list[tf.Variable]:
        return [e.table for e in (*self.inherent.embeddings.values(), *self.cross.values())]

    def _dense_variables(self) -> list[tf.Variable]:
        embeddings = {variable.ref() for variable in self._embedding_variables()}
        return [v for v in self.trainable_variables if v.ref() not in embeddings]
