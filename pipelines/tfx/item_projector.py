"""`ItemProjector`: projects the catalog with the trained model, a Beam job."""

import apache_beam as beam
from tfx import v1 as tfx
from tfx.types.standard_artifacts import Examples, InferenceResult, Model

from model.schema import load_schema
from pipelines.beam_options import in_process_by_default
from pipelines.projection_job import project_examples
from pipelines.tfx.example_gen import CATALOG_SPLIT
from pipelines.tfx.files import local_path, servable_path, split_files


@tfx.dsl.components.component(use_beam=True)
def ItemProjector(  # noqa: N802
    model: tfx.dsl.components.InputArtifact[Model],
    catalog: tfx.dsl.components.InputArtifact[Examples],
    schema_folder: tfx.dsl.components.Parameter[str],
    code_fingerprint: tfx.dsl.components.Parameter[str],
    projections: tfx.dsl.components.OutputArtifact[InferenceResult],
    beam_pipeline: tfx.dsl.components.BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Writes the projections of all catalog items.

    Args:
        model: The trained model; its `project_items` does the work.
        catalog: Catalog Examples.
        schema_folder: Columns of the data set.
        code_fingerprint: Nothing but a part of the cache key.
        projections: Parquet shards and their manifest.
        beam_pipeline: Gives the Beam options; the job makes its own pipeline of them.
    """
    project_examples(
        servable_path(model),
        split_files(catalog, CATALOG_SPLIT),
        load_schema(schema_folder),
        local_path(projections.uri),
        in_process_by_default(beam_pipeline.options),
    )
