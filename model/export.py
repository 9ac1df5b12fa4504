"""Writes a trained ranker as a SavedModel directory."""

import datetime
import json
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from model.encoders import Encoders
from model.ranker import TwinRanker
from model.schema import DatasetSchema
from model.signatures import Signatures, catalog_spec, request_spec

EXTRA = "assets.extra"


def export(
    ranker: TwinRanker,
    schema: DatasetSchema,
    encoders: Encoders,
    known_ids: np.ndarray,
    coverage: float,
    out: Path,
    trained_before_ms: int | None = None,
) -> None:
    """Writes the servable: SavedModel, and in `assets.extra` what later jobs need to know of it.

    Args:
        ranker: The trained model, its table refreshed.
        schema: The data set's columns; the folder is copied.
        encoders: Vocabularies and buckets, for a warm start.
        known_ids: int64 [V], item ids in the order of their embedding rows, for a warm start.
        coverage: Share of training lookups that the table answers.
        out: Directory to create.
        trained_before_ms: End of the range of the training targets' times, for a warm start.
    """
    functions = Signatures(ranker, schema).functions
    # A servable has no use for gradients, and those of a loop cannot be saved.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(servable_variables(ranker), str(out), signatures=functions, options=options)
    _declare_shapes(out / "saved_model.pb", schema, ranker.config.clustered)
    extra = out / EXTRA
    extra.mkdir()
    (extra / "config.yaml").write_text(ranker.config.to_yaml())
    encoders.save(extra / "encoders.json")
    np.save(extra / "known_ids.npy", known_ids, allow_pickle=False)
    shutil.copytree(schema.folder, extra / "schema" / schema.name, ignore=shutil.ignore_patterns("__pycache__"))
    about = {
        "schema": schema.name,
        "table_rows": int(ranker.item_table.ids.shape[0] or len(ranker.item_table.ids.numpy())),
        "table_dtype": ranker.config.table_dtype,
        "table_coverage": coverage,
        "trained_before_ms": trained_before_ms,
        "projection_dim": ranker.config.projection_dim,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    (extra / "twin.json").write_text(json.dumps(about, indent=1))


def servable_variables(ranker: TwinRanker) -> tf.Module:
    """The variables of the servable, by the names that refresh (`item_table`) and warm start (the others) reach for.

    Layers stay out: Keras would trace each one's call as a function of its own.
    """
    root = tf.Module(name="servable")
    root.item_table = ranker.item_table
    root.request_encoder = ranker.request_encoder
    root.embeddings = ranker.embeddings_by_name()
    root.dense = ranker.dense_variables()
    return root


def _declare_shapes(file: Path, schema: DatasetSchema, clustered: bool) -> None:
    """Writes the inputs' shapes into the signatures' declarations.

    The graph's own placeholders promise no rank, so that its checks run; clients still read the contract from the
    metadata.
    """
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    request, catalog = request_spec(schema, clustered), catalog_spec(schema)
    signatures = saved.meta_graphs[0].signature_def
    for key, spec in (("serving_default", request), ("explain", request), ("project_items", catalog)):
        for name, info in signatures[key].inputs.items():
            info.tensor_shape.CopyFrom(spec[name].shape.as_proto())
    file.write_bytes(saved.SerializeToString(deterministic=True))
