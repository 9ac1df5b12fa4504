"""AdaGrad and Adam, two steps of each by hand."""

import math

import numpy as np
import tensorflow as tf

from model.config import TwinConfig
from model.optimizer import adagrad_and_adam


def test_adagrad_trains_embeddings_and_adam_the_rest() -> None:
    table, kernel = tf.Variable([[1.0, 1.0], [1.0, 1.0]]), tf.Variable([1.0, 1.0])
    config = TwinConfig(embedding_learning_rate=0.1, dense_learning_rate=0.01)
    optimizer = adagrad_and_adam(config, lambda: [table], lambda: [kernel])
    for gradient in (2.0, 1.0):
        of_row = tf.IndexedSlices(tf.constant([[gradient, -gradient]]), tf.constant([1]), tf.constant([2, 2]))
        optimizer.apply_gradients([(of_row, table), (tf.constant([gradient, -gradient]), kernel)])
    # AdaGrad: g over the root of the sum of squares so far. Row 0 had no gradient.
    embedding = 0.1 * (2 / math.sqrt(4) + 1 / math.sqrt(4 + 1))
    np.testing.assert_allclose(table.numpy(), [[1.0, 1.0], [1 - embedding, 1 + embedding]], rtol=1e-5)
    # Adam: means of g and g^2 over steps, weights 0.9 and 0.999, each divided by the sum of its weights; first g / |g|.
    mean, square = (0.09 * 2 + 0.1 * 1) / 0.19, (0.000999 * 4 + 0.001 * 1) / 0.001999
    dense = 0.01 * (1 + mean / math.sqrt(square))
    np.testing.assert_allclose(kernel.numpy(), [1 - dense, 1 + dense], rtol=1e-5)
