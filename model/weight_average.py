"""What a training has come to lately, instead of where its last steps left it."""

import tensorflow as tf


class WeightAverage(tf.keras.callbacks.Callback):
    """Averages all trained weights over the steps of a training, and leaves the average in their place at its end.

        a_t = m a_(t-1) + (1 - m) w_t,  a_0 = 0;  after T steps  w = a_T / (1 - m^T)

    Windows come in order of time, so the last steps pull the weights to what those few users did then. The division,
    as in Adam (Kingma and Ba 2015, section 3), keeps the zeros and the first random weights out of the average.
    Within a training, steps go on from the weights as they are; one that continues it later (a warm start, or a
    period of `twin experiment rolling`) begins at the average, and averages its own steps alone. Each step reads and
    writes all weights, embeddings too.

    Args:
        momentum: m in [0, 1): the average is over some 1 / (1 - m) steps.
    """

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self._momentum = momentum

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Starts with no step."""
        del logs
        self._part = 0.0  # 1 - m^t

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Takes a step's weights in."""
        del batch, logs
        if not self._part:
            self._start()
        self._average()
        self._part = 1 - self._momentum * (1 - self._part)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Leaves the average in the weights' place."""
        del logs
        for weight, average in zip(self._weights, self._averages, strict=True):
            weight.assign(average / self._part)

    def _start(self) -> None:
        # Not before the first step, which makes the weights of layers that no input had shown their widths.
        self._weights = self.model.trainable_variables
        self._averages = [tf.Variable(tf.zeros_like(weight), trainable=False) for weight in self._weights]
        # A function keeps the variables that it was traced with.
        self._average = tf.function(self._step, autograph=False)

    def _step(self) -> None:
        for weight, average in zip(self._weights, self._averages, strict=True):
            average.assign(self._momentum * average + (1 - self._momentum) * weight)


def weight_averages(momentum: float) -> list[WeightAverage]:
    """The callbacks that a training with `ema_momentum` takes: none at 0, which would copy all weights each step."""
    return [WeightAverage(momentum)] if momentum else []
