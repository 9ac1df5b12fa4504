"""Where the artifacts of this pipeline keep their files."""

from pathlib import Path

from tfx.types import Artifact, artifact_utils
from tfx.utils import path_utils

_BUCKETS, _MOUNT = "gs://", "/gcs/"


def local_path(uri: str) -> Path:
    """The path of an artifact's URI; a Cloud Storage URI is under `/gcs/`, where Vertex AI mounts all buckets."""
    return Path(_MOUNT + uri.removeprefix(_BUCKETS) if uri.startswith(_BUCKETS) else uri)


def split_files(examples: Artifact, split: str) -> list[str]:
    """The TFRecord files of one split of an `Examples` artifact, sorted."""
    folder = local_path(artifact_utils.get_split_uri([examples], split))
    return sorted(str(file) for file in folder.glob("*.gz"))


def servable_path(model: Artifact) -> Path:
    """The SavedModel directory of a `Model` artifact."""
    return local_path(path_utils.serving_model_path(model.uri))
