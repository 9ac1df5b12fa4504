"""Compiles the pipeline for Kubeflow Pipelines v2 and Vertex AI: `python -m pipelines.tfx.kubeflow_runner ...`.

The container image must hold this package and its dependencies. All folders must be ones that every container sees
under the same path.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from tfx import v1 as tfx
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
from tfx.types.standard_artifacts import Model, ModelBlessing

from model.config import TwinConfig
from model.errors import UserError
from model.schema import SCHEMAS_DIR, load_schema
from pipelines.tfx.dag import components
from pipelines.tfx.plan import Plan, make_plan

PIPELINE = "twin"


def compile_pipeline(plan: Plan, pipeline_root: str, image: str, out: Path, beam_args: Sequence[str] = ()) -> None:
    """Writes the pipeline's specification, a JSON file to submit to Kubeflow Pipelines or Vertex AI.

    Args:
        plan: What to work on.
        pipeline_root: Where artifacts go.
        image: The container image of every component.
        out: The file to write.
        beam_args: Beam's flags for every component.
    """
    pipeline = tfx.dsl.Pipeline(
        pipeline_name=PIPELINE,
        pipeline_root=pipeline_root,
        components=components(plan, last_blessed),
        enable_cache=True,
        beam_pipeline_args=list(beam_args),
    )
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(default_image=image),
        output_dir=str(out.parent),
        output_filename=out.name,
    )
    runner.run(pipeline, write_out=True)


def last_blessed(
    component_id: str, before: tfx.types.BaseChannel, unseen_from_ms: int | None, clustered: bool
) -> tfx.dsl.Resolver:
    """The last blessed model of all: Kubeflow's backend resolves it, and knows no strategy but TFX's own.

    A rerun of unchanged work therefore starts from the model of the first run and is not taken from the cache, and the
    comparison is fair only while the split's borders move forward and histories stay clustered, or plain.
    """
    del before, unseen_from_ms, clustered
    return tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=Model),
        model_blessing=tfx.dsl.Channel(type=ModelBlessing),
    ).with_id(component_id)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles the pipeline from the command line."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.tfx.kubeflow_runner", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw tables")
    parser.add_argument("--schema", required=True, help="schema folder, or the name of one under schemas/")
    parser.add_argument("--config", type=Path, help="YAML file of the configuration; default: the schema's or built-in")
    parser.add_argument("--run-dir", type=Path, required=True, help="folder of the published versions, in servable/")
    parser.add_argument("--pipeline-root", required=True, help="where artifacts go, such as gs://bucket/twin")
    parser.add_argument("--image", required=True, help="container image that holds this package")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("beam_args", nargs="*", help="Beam's flags, after --")
    parsed = parser.parse_args(arguments)
    try:
        schema = load_schema(parsed.schema)
        plan = make_plan(parsed.data, schema, TwinConfig.load(parsed.config or schema.config_file), parsed.run_dir)
        if schema.folder.resolve().parent == SCHEMAS_DIR:
            # This package's own schemas lie elsewhere in the image; there the bare name finds them.
            plan = dataclasses.replace(plan, schema_folder=schema.name)
        compile_pipeline(plan, parsed.pipeline_root, parsed.image, parsed.out, parsed.beam_args)
    except UserError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
