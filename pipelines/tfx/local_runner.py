"""Runs the pipeline on this machine: `python -m pipelines.tfx.local_runner --run-dir ... --data ... --schema ...`."""

import argparse
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags  # type: ignore[import-untyped]
from tfx import v1 as tfx

from model.config import TwinConfig, interest_name
from model.errors import UserError
from model.schema import load_schema
from pipelines.aside import write_atomically
from pipelines.beam_options import IN_PROCESS_RUNNER
from pipelines.tfx.component_watch import ComponentWatch
from pipelines.tfx.dag import components
from pipelines.tfx.plan import make_plan
from pipelines.tfx.progress import PROGRESS_FILE, emit
from pipelines.tfx.run_records import last_run_outputs
from pipelines.tfx.summary import summarise

PIPELINE = "twin"
SUMMARY = "summary.json"
PROGRESS = "progress.jsonl"


def run(
    run_dir: Path, data: Path, schema: str, config: TwinConfig | None = None, beam_args: Sequence[str] = ()
) -> dict[str, Any]:
    """Runs the whole pipeline; components whose inputs, parameters and code have not changed come from the cache.

    Progress goes to `progress.jsonl`, artifacts to `pipeline/`, a blessed servable to `servable/<version>/`.

    Args:
        run_dir: The run directory. Further runs in it, on new data, go on from the last blessed model.
        data: Folder of the raw tables, with `dataset.json`.
        schema: Schema folder, or the name of one under `schemas/`.
        config: The configuration; the defaults without one.
        beam_args: Beam's own flags.

    Returns:
        The content of `summary.json`, which is written last.

    Raises:
        UserError: For what the user can mend.
    """
    run_dir = run_dir.resolve()
    run_dir.mkdir(parents=True, exist_ok=True)
    os.environ[PROGRESS_FILE] = str(run_dir / PROGRESS)
    _batch_by_bytes()
    watch = ComponentWatch()
    try:
        plan = make_plan(data, load_schema(schema), config or TwinConfig(), run_dir)
        metadata = run_dir / "metadata.sqlite"
        pipeline = tfx.dsl.Pipeline(
            pipeline_name=PIPELINE,
            pipeline_root=str(run_dir / "pipeline"),
            components=components(plan),
            enable_cache=True,
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(str(metadata)),
            beam_pipeline_args=beam_arguments(beam_args),
        )
        with watch:
            tfx.orchestration.LocalDagRunner().run(pipeline)
        summary = summarise(plan, last_run_outputs(metadata), watch.components, run_dir)
    except Exception as error:
        emit(watch.running or "pipeline", "failed", message=str(error), user_error=isinstance(error, UserError))
        raise
    write_atomically(run_dir / SUMMARY, json.dumps(summary, indent=2) + "\n")
    write_atomically(run_dir.parent / "latest", f"{run_dir}\n")
    return summary


def beam_arguments(extra: Sequence[str]) -> list[str]:
    """Beam's flags of every component: the in-process runner, unless `extra` names another."""
    named = any(argument.startswith("--runner") for argument in extra)
    return [*extra] if named else [f"--runner={IN_PROCESS_RUNNER}", *extra]


def _batch_by_bytes() -> None:
    # By default TFX batches up to 1,000 Examples; a thousand life-long histories would not fit the memory.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    flags.FLAGS.tfxio_use_byte_size_batching = True


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; `twin run` starts it in a process of its own, its output going to a log file."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.tfx.local_runner", description=main.__doc__)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--schema", required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--model", help="in place of the configuration's interest")
    parser.add_argument("beam_args", nargs="*")
    parsed = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    try:
        config = TwinConfig.load(parsed.config or load_schema(parsed.schema).config_file)
        if parsed.model is not None:
            config = dataclasses.replace(config, interest=interest_name(parsed.model))
        run(parsed.run_dir, parsed.data, parsed.schema, config, parsed.beam_args)
    except UserError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
