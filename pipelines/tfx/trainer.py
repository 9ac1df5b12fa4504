"""`TwinTrainer`: trains the ranker, warm or cold, and exports it as a servable."""

import dataclasses
import json

from tfx import v1 as tfx
from tfx.types.standard_artifacts import Examples, InferenceResult, Model, ModelRun, TransformGraph

from model.config import TwinConfig
from model.schema import load_schema
from model.train import train
from model.warm_start import WarmStartError, why_cold
from pipelines.pretrained_search import load_search_features
from pipelines.tfx.example_gen import CATALOG_SPLIT
from pipelines.tfx.files import local_path, servable_path, split_files
from pipelines.tfx.progress import emit
from pipelines.transform import read_encoders

REPORT = "training.json"


@tfx.dsl.components.component
def TwinTrainer(  # noqa: N802
    examples: tfx.dsl.components.InputArtifact[Examples],
    catalog: tfx.dsl.components.InputArtifact[Examples],
    user_transform_graph: tfx.dsl.components.InputArtifact[TransformGraph],
    catalog_transform_graph: tfx.dsl.components.InputArtifact[TransformGraph],
    schema_folder: tfx.dsl.components.Parameter[str],
    config: tfx.dsl.components.Parameter[str],
    base_before_ms: tfx.dsl.components.Parameter[int],
    eval_start_ms: tfx.dsl.components.Parameter[int],
    component: tfx.dsl.components.Parameter[str],
    code_fingerprint: tfx.dsl.components.Parameter[str],
    model: tfx.dsl.components.OutputArtifact[Model],
    model_run: tfx.dsl.components.OutputArtifact[ModelRun],
    base_model: tfx.dsl.components.InputArtifact[Model] = None,
    search_features: tfx.dsl.components.InputArtifact[InferenceResult] = None,
) -> None:
    """Trains on the `train` split.

    A component of its own, as TFX's Trainer takes one transform graph and one set of Examples; here the catalog has its
    own of both.

    Args:
        examples: Per-user Examples.
        catalog: Catalog Examples.
        user_transform_graph, catalog_transform_graph: Vocabularies and buckets.
        schema_folder: Columns of the data set.
        config: A `TwinConfig` as YAML.
        base_before_ms: The base must have learned no targets at or after this: the begin of the training targets, or
            where it has learned them in the same run, their end.
        eval_start_ms: End of the training targets.
        component: This component's id, under which it tells its progress.
        code_fingerprint: Nothing but a part of the cache key.
        model: The trained model as a SavedModel, its item table made of its weights.
        model_run: `training.json`, what the training did.
        base_model: A servable to start from. Training starts from random weights without one, and where the rule of
            `model.warm_start.why_cold` forbids it.
        search_features: What the search of the configuration's `interest` reads of items, if it reads anything.
    """
    schema = load_schema(schema_folder)
    out = servable_path(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    encoders = read_encoders(local_path(user_transform_graph.uri), local_path(catalog_transform_graph.uri), schema)
    base = servable_path(base_model) if base_model else None
    search = load_search_features(local_path(search_features.uri)) if search_features else None
    cold = why_cold(base, base_before_ms, eval_start_ms) if base else "there is no blessed model yet"
    try:
        report = train(
            schema,
            TwinConfig.from_yaml(config),
            encoders,
            split_files(examples, "train"),
            split_files(catalog, CATALOG_SPLIT),
            out,
            None if cold else base,
            lambda done, total, text: emit(component, "progress", done=done, total=total, message=text),
            eval_start_ms,
            search,
        )
    except WarmStartError as error:
        raise WarmStartError(f"{error}; a new run directory starts without one") from error
    start = {
        "base_model": None if cold else base_model.uri,
        "warm_start": f"none: {cold}" if cold else f"from {base_model.uri}",
    }
    content = {**dataclasses.asdict(report), **start}
    if search and "cluster" in search:
        # Fewer than asked for where there are few items.
        content["clusters"] = int(search["cluster"].values.max())
    (local_path(model_run.uri) / REPORT).write_text(json.dumps(content, indent=1) + "\n")
