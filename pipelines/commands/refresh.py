"""`twin refresh`: new projections for a servable, without training."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

_UNUSED_CLIENTS = ("google.cloud.bigquery", "google.cloud.pubsub", "pymongo")


def refresh(
    model_dir: Annotated[
        Path,
        typer.Option(help="Folder with the numbered versions; the latest is the one to refresh.", show_default=False),
    ],
    catalog: Annotated[
        str, typer.Option(help="Folder of raw tables; its items table is the new catalog.", show_default=False)
    ],
    schema: Annotated[
        str | None,
        typer.Option(help="Schema folder, or the name of one under schemas/. Default: the one in the servable."),
    ] = None,
    max_dead_letter_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of unusable catalog rows above which nothing is published.")
    ] = 0.05,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object on the last line.")] = False,
    beam_args: Annotated[
        list[str] | None, typer.Argument(help="Beam's own flags, after --, passed on as they are.", show_default=False)
    ] = None,
) -> None:
    """Publish the next version of a model with the items of a new catalog, without training.

    A Beam job projects every item with the model's own weights; the latest version is copied with the new item table,
    its recorded requests are replayed, and it appears in MODEL_DIR at once and whole. New items get rows.
    A refresh can be stopped or killed at any moment: nothing half-made is ever published, and the next one cleans up.

    Rejected rows (dead letters) and the report stay in MODEL_DIR/.refresh.

    Example: twin refresh --model-dir runs/mine/servable --catalog data/today -- --direct_num_workers=2
    """
    console = Console(stderr=as_json)
    with console.status("Loading TensorFlow and Beam"), without_unused_clients():
        import pipelines.refresh as job
        from model.schema import load_schema
        from pipelines.beam_options import beam_options
        from pipelines.progress_display import make_display
        from serving.publisher import latest_version, publish, versions

    latest = latest_version(model_dir)
    if latest is None:
        raise job.RefreshError(f"{model_dir}: no published version (a folder named by a number); run `twin run` first")
    servable = versions(model_dir)[latest]
    columns = load_schema(schema or schema_of(servable))
    options = beam_options(beam_args or ())
    with make_display(console) as display:
        report = job.refresh(
            servable,
            catalog,
            columns,
            options,
            publish=lambda build: publish(model_dir, build),
            work=model_dir / ".refresh",
            show=display.show,
            max_dead_letter_share=max_dead_letter_share,
        )
    content = dataclasses.asdict(report)
    _print(console, model_dir, content)
    if as_json:
        print(json.dumps(content))


@contextlib.contextmanager
def without_unused_clients() -> Iterator[None]:
    """Keeps out clients that Beam imports where it finds them, does without elsewhere, and a refresh never uses.

    They bring IPython among others, a quarter of the time until the work begins.
    """
    blocked = [name for name in _UNUSED_CLIENTS if name not in sys.modules]
    for name in blocked:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in blocked:
            del sys.modules[name]


def schema_of(servable: Path) -> Path:
    """The schema folder that a servable carries.

    Raises:
        UserError: It carries none, or several.
    """
    from model.errors import UserError

    folders = sorted(servable.glob("assets.extra/schema/*/"))
    if len(folders) != 1:
        raise UserError(f"{servable} does not carry the schema it was made with (assets.extra/schema); pass --schema")
    return folders[0]


def _print(console: Console, model_dir: Path, report: dict[str, Any]) -> None:
    def line(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    line(f"Published version {report['version']} in {model_dir}, made from {report['made_from']}")
    line(
        f"Items: {report['rows_before']:,} -> {report['rows_after']:,} "
        f"({report['new_items']:,} new, {report['removed_items']:,} removed); {report['rows_read']:,} rows read"
    )
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in report["dead_letters"].items())
    line(f"Rejected: {rejected}; see {report['dead_letters_dir']}" if rejected else "Rejected: none")
    replayed = report["warmup_requests"]
    line(f"Recorded requests replayed: {replayed}" if replayed else "The servable has no recorded requests to replay")
    line("Seconds: " + ", ".join(f"{step} {seconds:.1f}" for step, seconds in report["seconds"].items()))
