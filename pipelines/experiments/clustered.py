"""A data set with clustered histories, by the vectors of a trained TWIN (TWIN-V2)."""

import dataclasses
from pathlib import Path

from model.config import TwinConfig
from model.item_table import ItemTable
from model.servable_table import TableRows
from pipelines.beam_options import beam_options
from pipelines.clustering.durations import catalog_durations
from pipelines.clustering.job import cluster_examples
from pipelines.clustering.vectors import ItemVectors, save_vectors, table_vectors, with_durations
from pipelines.experiments.dataset import Prepared, check_whole, made_aside
from pipelines.preprocess.split_config import SPLITS


def item_vectors(data: Prepared, table: ItemTable) -> ItemVectors:
    """The projections of an item table, with durations where the schema has them."""
    rows = TableRows(table.ids.numpy(), table.projection.numpy(), table.scale.numpy(), {})
    vectors = table_vectors(rows)
    if data.schema.duration is None:
        return vectors
    return with_durations(vectors, *catalog_durations(data.files("catalog"), data.schema.duration))


def cluster_data(data: Prepared, vectors: ItemVectors, config: TwinConfig, folder: Path) -> Prepared:
    """The data set with its histories clustered, or what an earlier call made in `folder`; without a catalog.

    Args:
        data: The data set.
        vectors: The items' vectors.
        config: How to cluster.
        folder: Of the result; its name stands for the three others.
    """
    if not folder.is_dir():
        with made_aside(folder) as temporary:
            save_vectors(vectors, temporary / "vectors")
            for split in SPLITS:
                cluster_examples(
                    str(data.folder / "examples" / f"Split-{split}" / "*.gz"),
                    temporary / "vectors",
                    data.schema,
                    config,
                    str(temporary / "examples" / f"Split-{split}"),
                    str(temporary / f"{split}.json"),
                    beam_options(),
                )
    check_whole(folder)
    return dataclasses.replace(data, folder=folder)
