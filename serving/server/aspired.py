"""Which versions of a model should run."""

from pathlib import Path

from serving import publisher
from serving.server.model_config import Config, local_base_path


def aspired_versions(config: Config | None) -> dict[int, Path]:
    """The versions that the policy wants, of those on disk.

    Policies: `latest` (the default) the highest `num_versions` (0 and unset = 1), `all`, `specific` those listed.

    Args:
        config: The model's configuration; None = it should not run.

    Returns:
        Version number to directory, ascending.

    Raises:
        OSError: The base path is missing or cannot be read.
    """
    if config is None:
        return {}
    base = local_base_path(config)
    found = publisher.versions(base)
    if not found and not base.is_dir():
        raise FileNotFoundError(f"Could not find base path {base} for servable {config.name}")
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return found
    if kind == "specific":
        return {number: path for number, path in found.items() if number in policy.specific.versions}
    wanted = (policy.latest.num_versions or 1) if kind == "latest" else 1
    return dict(sorted(found.items())[-wanted:])
