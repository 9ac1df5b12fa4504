"""How a model learns: AdaGrad for embeddings, Adam for the rest (section 4.3)."""

from collections.abc import Callable

import tensorflow as tf
import tensorflow_recommenders as tfrs

from model.config import TwinConfig

# AdaGrad's slots start near zero: gradients of a mean over a batch are small, and beside the usual 0.1 they would
# vanish and leave plain, slow gradient descent.
_ACCUMULATOR = 1e-6


def adagrad_and_adam(
    config: TwinConfig, embeddings: Callable[[], list[tf.Variable]], others: Callable[[], list[tf.Variable]]
) -> tf.keras.optimizers.Optimizer:
    """One optimiser of two.

    Args:
        config: `embedding_learning_rate` and `dense_learning_rate`.
        embeddings: Returns the dictionaries that AdaGrad trains, asked for at the first step.
        others: Returns the variables that Adam trains.
    """
    # The legacy classes are one fused op a variable, sparse rows included; the newer ones trace dozens.
    keras = tf.keras.optimizers.legacy
    return tfrs.experimental.optimizers.CompositeOptimizer(
        [
            (keras.Adagrad(config.embedding_learning_rate, _ACCUMULATOR), embeddings),
            (keras.Adam(config.dense_learning_rate), others),
        ]
    )
