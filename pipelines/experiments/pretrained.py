"""What SIM's searches read of items, pre-trained once per seed and learning rates for all three of them."""

import zipfile
from pathlib import Path

import numpy as np

from model.config import TwinConfig
from model.search_features import SearchArray
from model.train import Progress
from pipelines.aside import file_aside
from pipelines.experiments.dataset import Prepared
from pipelines.pretrained_search import PRE_TRAINED, ItemEmbeddings, features_from, pretrain_embeddings


def search_arrays(data: Prepared, config: TwinConfig, file: Path, progress: Progress) -> dict[str, SearchArray]:
    """The arrays that the search of `config.interest` reads; empty for most.

    Args:
        data: The data set.
        config: The training's configuration.
        file: Where the embeddings are kept; what is there is taken.
        progress: Receives the pre-training's steps.

    Raises:
        DivergedError: If the embeddings are no longer numbers.
    """
    if config.interest not in PRE_TRAINED:
        return {}
    return features_from(_embeddings(data, config, file, progress), config)


def _embeddings(data: Prepared, config: TwinConfig, file: Path, progress: Progress) -> ItemEmbeddings:
    if (kept := _load(file)) is not None:
        return kept
    made = pretrain_embeddings(data.schema, config, data.encoders, data.files("train"), data.files("catalog"), progress)
    # Another process may have been first, and what it trained searches by its own.
    if (kept := _load(file)) is not None:
        return kept
    with file_aside(file) as stream:
        np.savez(stream, ids=made.ids, values=made.values, seen=made.seen)
    return made


def _load(file: Path) -> ItemEmbeddings | None:
    """What is kept; None where there is nothing, or it is damaged."""
    try:
        with np.load(file, allow_pickle=False) as content:
            return ItemEmbeddings(content["ids"], content["values"], content["seen"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
