"""Names for versions, such as "stable" and "canary"."""

from collections.abc import Callable, Iterable, Mapping

from serving.server.model_config import Config
from serving.server.serving_error import Code, ServingError, invalid

Labels = Mapping[str, Mapping[str, int]]


def labels_of(
    configs: Iterable[Config], before: Labels, is_available: Callable[[str, int], bool], allow_unavailable: bool
) -> Labels:
    """The labels of a list of models, by model name.

    Args:
        configs: The models with their `version_labels`.
        before: The labels that hold now.
        is_available: Whether a model's version is AVAILABLE.
        allow_unavailable: A label that is new, or stays where it is, may name any version; one that moves may not.

    Returns:
        Model name to label to version.

    Raises:
        ServingError: FAILED_PRECONDITION, a label names a version that is not AVAILABLE.
    """
    for config in configs:
        for label, version in config.version_labels.items():
            stays = before.get(config.name, {}).get(label, version) == version
            if not (allow_unavailable and stays) and not is_available(config.name, version):
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {config.name}, which is not currently "
                    "available for inference",
                )
    return {config.name: dict(config.version_labels) for config in configs}


def version_of_label(labels: Labels, name: str, label: str) -> int:
    """The version a label stands for.

    Raises:
        ServingError: INVALID_ARGUMENT, the model has no such label.
    """
    try:
        return labels[name][label]
    except KeyError:
        raise invalid(f"Unrecognized servable version label: {label}") from None
