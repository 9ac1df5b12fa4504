"""The early check for Keras 2; Keras 3 needs a process of its own and is in test_machine_checks.py."""

import importlib.metadata

from model.keras_check import require_keras_2


def test_gives_the_version_of_keras_2() -> None:
    assert require_keras_2() == importlib.metadata.version("tf-keras")
