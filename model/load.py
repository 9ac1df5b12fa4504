"""A servable back into a ranker."""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.config import TableDtype, TwinConfig
from model.encoders import Encoders
from model.errors import UserError
from model.export import EXTRA
from model.ranker import TwinRanker
from model.schema import DatasetSchema, load_schema
from model.warm_start import known_ids_of


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A ranker with a servable's weights and table, and what it was built from."""

    ranker: TwinRanker
    schema: DatasetSchema
    encoders: Encoders
    known_ids: np.ndarray


def load_ranker(servable: Path, table_dtype: TableDtype | None = None) -> Loaded:
    """Rebuilds the ranker that `model.export.export` wrote.

    Args:
        servable: The SavedModel directory.
        table_dtype: Type of the stored projections, where it is to differ from the servable's; they are made anew.

    Raises:
        UserError: If the directory is not such a servable.
    """
    extra = servable / EXTRA
    if not (extra / "twin.json").is_file():
        raise UserError(f"{servable}: not a servable of this project: assets.extra/twin.json is missing")
    schema = load_schema(next(path for path in (extra / "schema").iterdir() if path.is_dir()))
    encoders = Encoders.load(extra / "encoders.json")
    config = TwinConfig.load(extra / "config.yaml")
    if table_dtype is not None:
        config = dataclasses.replace(config, table_dtype=table_dtype)
    known_ids = known_ids_of(servable)
    saved = tf.saved_model.load(str(servable))
    index = dict(saved.item_table.index)
    widths = {name: values.shape[1] for name, values in index.items() if values.shape.rank == 2}
    ranker = TwinRanker(schema, encoders, config, len(known_ids), widths)
    for new, old in zip(ranker.dense_variables(), saved.dense, strict=True):
        new.assign(old)
    for name, table in ranker.embeddings_by_name().items():
        table.assign(saved.embeddings[name])
    table = ranker.item_table
    for name, values in table.index.items():
        values.assign(index[name])
    table.ids.assign(saved.item_table.ids)
    table.id_index.keys.assign(saved.item_table.id_index.keys)
    table.id_index.rows.assign(saved.item_table.id_index.rows)
    if table_dtype is None:
        table.projection.assign(saved.item_table.projection)
        table.scale.assign(saved.item_table.scale)
    else:
        table.refresh(ranker.project_rows)
    for name, values in table.search.items():
        values.assign(saved.item_table.search[name])
    return Loaded(ranker, schema, encoders, known_ids)
