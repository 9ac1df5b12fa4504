"""The projection job as a whole: a servable and a catalog in, projection shards and their manifest out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from model.schema import DatasetSchema
from model.servable_table import TableSpec, read_spec
from pipelines.catalog_source import CatalogItems, ReadCatalogExamples, ReadItemTables
from pipelines.dead_letters import SummariseDeadLetters, WriteDeadLetters
from pipelines.project_items import ITEM_ID, SIGNATURE, ProjectionError, ProjectItems
from pipelines.projection_manifest import MANIFEST, WriteManifest, made_from
from pipelines.readers import open_table

DEAD_LETTERS = "dead_letters"


def project_tables(
    servable: Path, data: str, schema: DatasetSchema, out: Path, options: PipelineOptions, origin: Path | None = None
) -> dict[str, Any]:
    """Projects the items of raw tables.

    Args:
        servable: SavedModel with the signature `project_items`.
        data: Folder of the raw tables; only `items` is read.
        schema: Their columns.
        out: New folder for `shard-*.parquet`, `dead_letters/` and `manifest.json`.
        options: Beam's, from `beam_options`.
        origin: The servable to name in the manifest, where `servable` is a lighter copy of it.

    Returns:
        The manifest.

    Raises:
        RawDataError: The items table is missing or has not the declared columns.
        ProjectionError: The servable does not fit the schema, or the catalog has no usable item.
    """
    widths = _widths(servable, schema)
    source = ReadItemTables(open_table(data, "items", schema).spans, schema, widths)
    return _run(source, servable, out, options, origin or servable, data)


def project_examples(
    servable: Path, files: Sequence[str], schema: DatasetSchema, out: Path, options: PipelineOptions
) -> dict[str, Any]:
    """Projects the items of catalog Examples (gzipped TFRecord files); otherwise like `project_tables`."""
    source = ReadCatalogExamples(files, schema, _widths(servable, schema))
    return _run(source, servable, out, options, servable, f"{len(files)} catalog files")


def _run(
    source: ReadItemTables | ReadCatalogExamples,
    servable: Path,
    out: Path,
    options: PipelineOptions,
    origin: Path,
    described: str,
) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    with beam.Pipeline(options=options) as pipeline:
        items: CatalogItems = pipeline | "ReadItems" >> source
        shards = items.batches | "ProjectItems" >> ProjectItems(str(servable), str(out))
        summary = items.letters | "SummariseDeadLetters" >> SummariseDeadLetters()
        if isinstance(source, ReadItemTables):
            _ = items.letters | "WriteDeadLetters" >> WriteDeadLetters(str(out / DEAD_LETTERS))
        _ = shards | "Manifest" >> WriteManifest(str(out), made_from(origin), items.read, summary)
    manifest: dict[str, Any] = json.loads((out / MANIFEST).read_text())
    if not manifest["rows"]:
        raise ProjectionError(f"{described}: no usable item ({manifest['read']} rows read, {manifest['dead_letters']})")
    return manifest


def _widths(servable: Path, schema: DatasetSchema) -> dict[str, int]:
    """Checks that the servable takes the schema's items and gives the table's widths of the multi-hot features."""
    expected: dict[str, str] = {ITEM_ID: "int64"}
    for feature in schema.inherent:
        expected[feature.name] = feature.dtype
        if feature.multi_hot:
            expected[f"{feature.name}/length"] = "int64"
    found = _signature_inputs(servable)
    if found != expected:
        differing = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise ProjectionError(
            f"{servable}: signature {SIGNATURE!r} does not take the items of schema {schema.name!r}: "
            + "; ".join(f"{n}: model {found.get(n, 'none')}, schema {expected.get(n, 'none')}" for n in differing)
        )
    spec: TableSpec = read_spec(servable)
    return {f.name: width for f in schema.inherent if f.multi_hot and (width := spec.index.get(f.name))}


def _signature_inputs(servable: Path) -> dict[str, str]:
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    graphs = saved_model_pb2.SavedModel.FromString((servable / "saved_model.pb").read_bytes()).meta_graphs
    graph = next((g for g in graphs if "serve" in g.meta_info_def.tags), None)
    if graph is None or SIGNATURE not in graph.signature_def:
        raise ProjectionError(f"{servable}: no signature {SIGNATURE!r}; export the model with it")
    return {name: tf.dtypes.as_dtype(info.dtype).name for name, info in graph.signature_def[SIGNATURE].inputs.items()}
