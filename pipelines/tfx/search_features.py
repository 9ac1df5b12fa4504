"""`SearchFeatures`: pre-trains what SIM's searches read of items."""

from tfx import v1 as tfx
from tfx.types.standard_artifacts import Examples, InferenceResult, TransformGraph

from model.config import TwinConfig
from model.schema import load_schema
from pipelines.pretrained_search import fit_search_features, save_search_features
from pipelines.tfx.example_gen import CATALOG_SPLIT
from pipelines.tfx.files import local_path, split_files
from pipelines.tfx.progress import emit
from pipelines.transform import read_encoders


@tfx.dsl.components.component
def SearchFeatures(  # noqa: N802
    examples: tfx.dsl.components.InputArtifact[Examples],
    catalog: tfx.dsl.components.InputArtifact[Examples],
    user_transform_graph: tfx.dsl.components.InputArtifact[TransformGraph],
    catalog_transform_graph: tfx.dsl.components.InputArtifact[TransformGraph],
    schema_folder: tfx.dsl.components.Parameter[str],
    config: tfx.dsl.components.Parameter[str],
    code_fingerprint: tfx.dsl.components.Parameter[str],
    search_features: tfx.dsl.components.OutputArtifact[InferenceResult],
) -> None:
    """Learns from the `train` split alone; see `pipelines.pretrained_search`.

    Args:
        examples: Per-user Examples.
        catalog: Catalog Examples.
        user_transform_graph, catalog_transform_graph: Vocabularies and buckets.
        schema_folder: Columns of the data set.
        config: A `TwinConfig` as YAML; its `interest` says what is made.
        code_fingerprint: Nothing but a part of the cache key.
        search_features: `embedding.npz` or `cluster.npz`: `ids` of the items and their `values`.
    """
    schema = load_schema(schema_folder)
    encoders = read_encoders(local_path(user_transform_graph.uri), local_path(catalog_transform_graph.uri), schema)
    features = fit_search_features(
        schema,
        TwinConfig.from_yaml(config),
        encoders,
        split_files(examples, "train"),
        split_files(catalog, CATALOG_SPLIT),
        lambda done, total, text: emit("SearchFeatures", "progress", done=done, total=total, message=text),
    )
    save_search_features(features, local_path(search_features.uri))
