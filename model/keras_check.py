"""Fails early and in plain words where `tf.keras` is not Keras 2."""

import importlib.metadata
import os

from model.errors import UserError


class KerasVersionError(UserError):
    """`tf.keras` is Keras 3, or no Keras at all, where Keras 2 is needed."""


def require_keras_2() -> str:
    """Checks that `tf.keras` is Keras 2, which tensorflow-recommenders and TFT's layer are written for.

    TensorFlow reads `TF_USE_LEGACY_KERAS` at its first import; set later, a parent process has Keras 3 and its
    children Keras 2, and a model saved by one does not load in the other.

    Returns:
        The version of Keras, such as `2.16.0`.

    Raises:
        KerasVersionError: When it is another major version or `tf-keras` is not installed.
    """
    import tensorflow as tf

    setting = os.environ.get("TF_USE_LEGACY_KERAS")
    advice = (
        f"TF_USE_LEGACY_KERAS is {setting!r}; set it to 1 before the interpreter imports TensorFlow "
        "(the `twin` command does so) and install tf-keras in TensorFlow's own version"
    )
    try:
        module = tf.keras.Model.__module__
    except (ImportError, AttributeError) as error:
        raise KerasVersionError(f"tf.keras cannot be imported: {error}; {advice}") from None
    if not module.startswith("tf_keras."):
        found = getattr(tf.keras, "__version__", "of an unknown version")
        raise KerasVersionError(f"tf.keras is Keras {found}, expected Keras 2 (the package tf-keras); {advice}")
    return importlib.metadata.version("tf-keras")
