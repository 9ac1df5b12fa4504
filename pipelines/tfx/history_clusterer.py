"""`HistoryClusterer`: per-user Examples become Examples of clustered histories, a Beam job."""

import shutil

import apache_beam as beam
from tfx import v1 as tfx
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import ExampleAnomalies, Examples, Model

from model.config import TwinConfig
from model.schema import load_schema
from pipelines.beam_options import in_process_by_default
from pipelines.clustering.durations import catalog_durations
from pipelines.clustering.job import cluster_examples
from pipelines.clustering.vectors import save_vectors, servable_vectors, with_durations
from pipelines.preprocess.split_config import SPLITS
from pipelines.tfx.example_gen import CATALOG_SPLIT
from pipelines.tfx.files import local_path, servable_path, split_files
from pipelines.tfx.progress import emit

_VECTORS = "vectors"


@tfx.dsl.components.component(use_beam=True)
def HistoryClusterer(  # noqa: N802
    examples: tfx.dsl.components.InputArtifact[Examples],
    catalog: tfx.dsl.components.InputArtifact[Examples],
    model: tfx.dsl.components.InputArtifact[Model],
    schema_folder: tfx.dsl.components.Parameter[str],
    config: tfx.dsl.components.Parameter[str],
    code_fingerprint: tfx.dsl.components.Parameter[str],
    clustered_examples: tfx.dsl.components.OutputArtifact[Examples],
    report: tfx.dsl.components.OutputArtifact[ExampleAnomalies],
    beam_pipeline: tfx.dsl.components.BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Clusters the histories of all splits; see `pipelines.clustering.job`.

    Args:
        examples: Per-user Examples, splits `train`, `eval` and `test`.
        catalog: Catalog Examples: items' durations, where the schema has them.
        model: A trained TWIN; the item table that training left in it says which items are known, and how alike.
        schema_folder: Columns of the data set.
        config: A `TwinConfig` as YAML.
        code_fingerprint: Nothing but a part of the cache key.
        clustered_examples: The same splits; a user may have several Examples, each target is in one.
        report: `<split>.json`: counts and compression.
        beam_pipeline: Gives the Beam options; the job makes its own pipelines of them.
    """
    schema = load_schema(schema_folder)
    vectors = servable_vectors(servable_path(model))
    folder = local_path(report.uri) / _VECTORS
    if schema.duration is not None:
        vectors = with_durations(vectors, *catalog_durations(split_files(catalog, CATALOG_SPLIT), schema.duration))
    save_vectors(vectors, folder)
    options = in_process_by_default(beam_pipeline.options)
    for done, split in enumerate(SPLITS):
        emit("HistoryClusterer", "progress", done=done, total=len(SPLITS), message=f"split {split}")
        cluster_examples(
            f"{artifact_utils.get_split_uri([examples], split)}/*.gz",
            folder,
            schema,
            TwinConfig.from_yaml(config),
            f"{clustered_examples.uri}/Split-{split}",
            f"{report.uri}/{split}.json",
            options,
        )
    shutil.rmtree(folder)
    clustered_examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
