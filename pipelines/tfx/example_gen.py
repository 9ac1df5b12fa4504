"""`SequenceExampleGen`: raw tables in, per-user training Examples and catalog Examples out."""

import json

import apache_beam as beam
from tfx import v1 as tfx
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import ExampleAnomalies, Examples

from model.schema import load_schema
from pipelines.preprocess.job import OutputPaths, preprocess
from pipelines.preprocess.split_config import SPLITS, SplitConfig
from pipelines.tfx.kept_dead_letters import kept_dead_letters

CATALOG_SPLIT = "catalog"


@tfx.dsl.components.component(use_beam=True)
def SequenceExampleGen(  # noqa: N802
    data: tfx.dsl.components.Parameter[str],
    schema_folder: tfx.dsl.components.Parameter[str],
    split: tfx.dsl.components.Parameter[str],
    failed_dead_letters: tfx.dsl.components.Parameter[str],
    data_fingerprint: tfx.dsl.components.Parameter[str],
    schema_fingerprint: tfx.dsl.components.Parameter[str],
    code_fingerprint: tfx.dsl.components.Parameter[str],
    examples: tfx.dsl.components.OutputArtifact[Examples],
    catalog: tfx.dsl.components.OutputArtifact[Examples],
    report: tfx.dsl.components.OutputArtifact[ExampleAnomalies],
    beam_pipeline: tfx.dsl.components.BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Runs the preprocessing job.

    Args:
        data: Folder of the raw tables.
        schema_folder: Their columns.
        split: A `SplitConfig` as JSON.
        failed_dead_letters: Where the dead letters of a job that fails over them are kept.
        data_fingerprint, schema_fingerprint, code_fingerprint: Nothing but parts of the cache key.
        examples: Splits `train`, `eval`, `test`; one Example per user and split.
        catalog: Split `catalog`; one Example per item.
        report: `report.json` with all counts, and the dead letters.
        beam_pipeline: Gives the Beam options; the job makes its own pipeline of them.
    """
    paths = OutputPaths(
        examples=examples.uri,
        catalog=catalog.uri,
        dead_letters=f"{report.uri}/dead_letters",
        report=f"{report.uri}/report.json",
    )
    with kept_dead_letters(paths.dead_letters, failed_dead_letters):
        preprocess(data, load_schema(schema_folder), SplitConfig(**json.loads(split)), paths, beam_pipeline.options)
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    catalog.split_names = artifact_utils.encode_split_names([CATALOG_SPLIT])
