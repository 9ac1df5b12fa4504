"""The pipeline's graph of components, the same for every orchestrator."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import tensorflow_data_validation as tfdv
from tfx import v1 as tfx
from tfx.types.standard_artifacts import Model, ModelBlessing

from model.config import TwinConfig
from model.search_features import empty_search_features
from pipelines.tfx.evaluation import evaluation_config
from pipelines.tfx.example_gen import SequenceExampleGen
from pipelines.tfx.fingerprints import code_fingerprint, data_fingerprint, schema_fingerprint
from pipelines.tfx.history_clusterer import HistoryClusterer
from pipelines.tfx.item_projector import ItemProjector
from pipelines.tfx.last_blessed import LastBlessedBefore
from pipelines.tfx.plan import Plan
from pipelines.tfx.pusher import AtomicPusher
from pipelines.tfx.search_features import SearchFeatures
from pipelines.tfx.servable_assembler import ServableAssembler
from pipelines.tfx.servable_check import ServableCheck
from pipelines.tfx.target_scorer import EVALUATED_SPLIT, TargetScorer
from pipelines.tfx.trainer import TwinTrainer
from pipelines.transform import catalog_transform_config, user_transform_config

PLAIN_TRAINER = "PlainTrainer"
"""Trains the TWIN by whose item table histories are clustered."""
_EXAMPLES_PER_BATCH = 16
_TRANSFORM = "pipelines.transform"

LastBlessed = Callable[[str, tfx.types.BaseChannel, int | None, bool], tfx.dsl.Resolver]
"""(component id, artifact that is younger than the wanted model, time from which on it must have learned no target,
whether it then is to read clustered histories) -> resolver with the output `model`."""


def last_blessed_before(
    component_id: str, before: tfx.types.BaseChannel, unseen_from_ms: int | None, clustered: bool
) -> tfx.dsl.Resolver:
    """The last blessed model older than `before`: a rerun of unchanged work finds the same one and stays cached."""
    return tfx.dsl.Resolver(
        strategy_class=LastBlessedBefore,
        config={} if unseen_from_ms is None else {"unseen_from_ms": unseen_from_ms, "clustered": clustered},
        model=tfx.dsl.Channel(type=Model),
        model_blessing=tfx.dsl.Channel(type=ModelBlessing),
        before=before,
    ).with_id(component_id)


def components(plan: Plan, last_blessed: LastBlessed = last_blessed_before) -> list[tfx.types.BaseNode]:
    """All components, wired.

    Args:
        plan: What to work on.
        last_blessed: Finds the model to start from and the one to compare with.
    """
    schema_folder = plan.schema_folder
    example_gen = SequenceExampleGen(
        data=plan.data,
        schema_folder=schema_folder,
        split=json.dumps(dataclasses.asdict(plan.split)),
        failed_dead_letters=plan.failed_dead_letters,
        data_fingerprint=data_fingerprint(plan.data),
        schema_fingerprint=schema_fingerprint(plan.schema.folder),
        code_fingerprint=code_fingerprint("pipelines.tfx.example_gen"),
    )
    examples, catalog = example_gen.outputs["examples"], example_gen.outputs["catalog"]
    schema_gen = tfx.components.ImportSchemaGen(schema_file=plan.schema_file).with_id("ImportUserSchema")
    catalog_schema_gen = tfx.components.ImportSchemaGen(schema_file=plan.catalog_schema_file).with_id(
        "ImportCatalogSchema"
    )
    statistics = tfx.components.StatisticsGen(
        examples=examples,
        schema=schema_gen.outputs["schema"],
        # A user has up to hundreds of thousands of events: few users fill the memory.
        stats_options=tfdv.StatsOptions(desired_batch_size=_EXAMPLES_PER_BATCH),
    )
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    user_transform = _transform(
        examples, schema_gen.outputs["schema"], "train", user_transform_config(plan.schema, plan.config)
    ).with_id("UserTransform")
    catalog_transform = _transform(
        catalog, catalog_schema_gen.outputs["schema"], "catalog", catalog_transform_config(plan.schema, plan.config)
    ).with_id("CatalogTransform")
    base = last_blessed("LastBlessedBase", examples, None, plan.config.clustered)
    config = _without_thresholds(plan.config)
    learned_from = {
        "examples": examples,
        "catalog": catalog,
        "user_transform_graph": user_transform.outputs["transform_graph"],
        "catalog_transform_graph": catalog_transform.outputs["transform_graph"],
        "schema_folder": schema_folder,
        "config": config.to_yaml(),
    }
    trained_by = {
        "eval_start_ms": plan.split.eval_start_ms,
        "code_fingerprint": code_fingerprint("pipelines.tfx.trainer"),
    }
    started_from = {"base_model": base.outputs["model"], "base_before_ms": plan.split.train_start_ms}
    nodes_before: list[tfx.types.BaseNode] = []
    searched_by: dict[str, tfx.types.BaseChannel] = {}
    if empty_search_features(config):
        code = code_fingerprint("pipelines.tfx.search_features")
        nodes_before = [SearchFeatures(**learned_from, code_fingerprint=code)]
        searched_by = {"search_features": nodes_before[0].outputs["search_features"]}
    if config.clustered:
        plain = dataclasses.replace(config, interest="twin").to_yaml()
        plain_trainer = TwinTrainer(
            **{**learned_from, "config": plain}, **trained_by, **started_from, component=PLAIN_TRAINER
        )
        clusterer = HistoryClusterer(
            examples=examples,
            catalog=catalog,
            model=plain_trainer.outputs["model"],
            schema_folder=schema_folder,
            config=config.to_yaml(),
            code_fingerprint=code_fingerprint("pipelines.tfx.history_clusterer"),
        )
        nodes_before = [plain_trainer.with_id(PLAIN_TRAINER), clusterer]
        examples = learned_from["examples"] = clusterer.outputs["clustered_examples"]
        # Another epoch of the same targets, no more: none of them is evaluated on.
        started_from = {"base_model": plain_trainer.outputs["model"], "base_before_ms": plan.split.eval_start_ms}
    trainer = TwinTrainer(**learned_from, **searched_by, **trained_by, **started_from, component="TwinTrainer")
    projector = ItemProjector(
        model=trainer.outputs["model"],
        catalog=catalog,
        schema_folder=schema_folder,
        code_fingerprint=code_fingerprint("pipelines.tfx.item_projector"),
    )
    assembler = ServableAssembler(
        model=trainer.outputs["model"],
        projections=projector.outputs["projections"],
        examples=examples,
        schema_folder=schema_folder,
        code_fingerprint=code_fingerprint("pipelines.tfx.servable_assembler"),
    )
    servable = assembler.outputs["servable"]
    baseline = last_blessed("LastBlessedBaseline", servable, plan.split.eval_start_ms, config.clustered)
    scorer = TargetScorer(
        examples=examples,
        servable=servable,
        baseline=baseline.outputs["model"],
        code_fingerprint=code_fingerprint("pipelines.tfx.target_scorer"),
    )
    evaluator = tfx.components.Evaluator(
        examples=scorer.outputs["scores"],
        model=servable,
        baseline_model=baseline.outputs["model"],
        eval_config=evaluation_config(plan.config),
        example_splits=[EVALUATED_SPLIT],
    )
    check = ServableCheck(servable=servable, code_fingerprint=code_fingerprint("pipelines.tfx.servable_check"))
    pusher = AtomicPusher(
        model=servable,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=check.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=plan.model_dir)
        ),
        # Nothing but a part of the cache key.
        custom_config={"model_dir_id": plan.model_dir_id},
    ).with_id("Pusher")
    return [
        example_gen,
        schema_gen,
        catalog_schema_gen,
        statistics,
        validator,
        user_transform,
        catalog_transform,
        base,
        *nodes_before,
        trainer,
        projector,
        assembler,
        check,
        baseline,
        scorer,
        evaluator,
        pusher,
    ]


def _transform(
    examples: tfx.types.BaseChannel, schema: tfx.types.BaseChannel, split: str, config: dict[str, Any]
) -> tfx.components.Transform:
    """A Transform that analyses one split and writes no transformed copy of the data: the model holds the graph."""
    return tfx.components.Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn=f"{_TRANSFORM}.preprocessing_fn",
        splits_config=tfx.proto.SplitsConfig(analyze=[split], transform=[]),
        materialize=False,
        disable_analyzer_cache=True,
        disable_statistics=True,
        # The function is named, not passed: its code must enter the cache key by a fingerprint.
        custom_config={**config, "code_fingerprint": code_fingerprint(_TRANSFORM)},
    )


def _without_thresholds(config: TwinConfig) -> TwinConfig:
    """What training depends on: another threshold of the evaluation must not train anew."""
    default = TwinConfig()
    return dataclasses.replace(
        config,
        min_auc=default.min_auc,
        max_auc_drop=default.max_auc_drop,
        max_dead_letter_share=default.max_dead_letter_share,
        feedback_delay_ms=default.feedback_delay_ms,
    )
