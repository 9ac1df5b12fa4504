"""`twin run`: the whole pipeline, from raw tables to a pushed servable."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def run(
    data: Annotated[Path, typer.Option(help="Folder with the raw tables: events, items and, where there are, users.")],
    schema: Annotated[
        str | None,
        typer.Option(help="Schema folder, or the name of one under schemas/. Default: the one in DATA/dataset.json."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file with the model's configuration. Default: the schema's config.yaml, or built-in."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="twin, twin-v2 (life-long histories, clustered) or a rival; overrides the file's interest."),
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Where everything of the run goes. Default: runs/<name of the data folder>.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object on the last line.")] = False,
    beam_args: Annotated[
        list[str] | None, typer.Argument(help="Beam's own flags, after --, passed on as they are.", show_default=False)
    ] = None,
) -> None:
    """Train on raw tables and push a servable: the whole TFX pipeline on this machine.

    What runs, how far and how long it takes shows on screen; TFX's and TensorFlow's own output goes to
    RUN_DIR/logs/tfx.log. Steps whose input and code have not changed are taken from the last run in the same
    directory, and Ctrl-C leaves the run so that the same command continues it.

    Example: `twin run --data data/mine --schema schemas/mine -- --direct_num_workers=2`
    """
    from pipelines.run_summary import print_summary
    from pipelines.runner_process import PipelineError, RunRequest, run_pipeline

    console = Console(stderr=as_json)
    _check_paths(data, config)
    chosen_schema = schema or _declared_schema(data)
    chosen_config = _checked_config(data, chosen_schema, config, model)
    where = run_dir or Path("runs") / data.resolve().name
    configured = f"configured by {chosen_config}" if chosen_config else "with the built-in configuration"
    request = RunRequest(where, data, chosen_schema, chosen_config, tuple(beam_args or ()), model)
    console.print(
        f"Running the pipeline on {data}, {configured}; the full log is {request.log}", highlight=False, soft_wrap=True
    )
    try:
        summary = run_pipeline(request, console)
    except PipelineError as error:
        Console(stderr=True).print(f"twin run: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("Stopped. The finished steps are kept: the same command continues after them.")
        raise
    print_summary(summary, console)
    console.print(f"Next: twin serve --model-dir {where / 'servable'}", highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps(summary))


def _check_paths(data: Path, config: Path | None) -> None:
    from model.errors import UserError

    if not data.is_dir():
        raise UserError(f"--data {data}: no such folder; expected one that holds events, items and optionally users")
    if config is not None and not config.is_file():
        raise UserError(f"--config {config}: no such file; leave the option out for the schema's or the built-in one")


def _checked_config(data: Path, schema: str, config: Path | None, model: str | None) -> Path | None:
    """The configuration's file. Tells mistakes in the small files before the half minute that importing TFX takes."""
    from model.config import TwinConfig, interest_name
    from model.schema import load_schema
    from pipelines.tfx.dataset_json import read_borders

    if model is not None:
        interest_name(model)
    of_schema = load_schema(schema).config_file
    chosen = config or of_schema
    TwinConfig.load(chosen)
    read_borders(data / "dataset.json")
    return chosen


def _declared_schema(data: Path) -> str:
    from model.errors import UserError
    from pipelines.tfx.dataset_json import read_schema_name

    try:
        return read_schema_name(data / "dataset.json")
    except UserError as error:
        raise UserError(f"{error}; or name the schema folder with --schema") from None
