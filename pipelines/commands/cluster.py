"""`twin cluster`: whole lives as clustered histories."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console


def cluster(
    servable: Annotated[
        Path,
        typer.Option(
            help="A servable, or a folder of numbered ones, of which the latest counts: its item table has the "
            "vectors by which behaviours are alike.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder to write, on a file system that all workers share.", show_default=False)
    ],
    data: Annotated[
        str | None, typer.Option(help="Folder of raw tables, of which the events are read.", show_default=False)
    ] = None,
    examples: Annotated[
        str | None,
        typer.Option(help="Folder of per-user Examples instead: *.gz or Split-*/*.gz.", show_default=False),
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option(
            help="Output folder of an earlier run: behaviours since then join its clusters. Without it, all are "
            "clustered anew.",
            show_default=False,
        ),
    ] = None,
    catalog: Annotated[
        Path | None,
        typer.Option(
            help="With --examples, where the schema has a duration: folder of the catalog's Examples.",
            show_default=False,
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(help="Schema folder, or the name of one under schemas/. Default: the one in the servable."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration (clustering, max_cluster_size, ...). Default: the one in the servable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object on the last line.")] = False,
    beam_args: Annotated[
        list[str] | None, typer.Argument(help="Beam's own flags, after --, passed on as they are.", show_default=False)
    ] = None,
) -> None:
    """Cluster each user's life, for requests of histories of 10^5 behaviours and more (TWIN-V2).

    OUT/lives has one tf.Example a user: the clustered history as a request takes it, and where it ends, from which
    the next run with --previous goes on. Its data may be the events since then alone, or all of them. Now and then run
    without --previous: late events come in, and clusters are made anew of the items' current vectors. OUT/report.json
    is written last: without it a run is not finished. One that was killed leaves OUT/.vectors-* and OUT/lives.tmp-*,
    which may be deleted, and can be run again.

    Example: twin cluster --data data/today --servable runs/mine/servable --out lives/2 --previous lives/1
    """
    from model.errors import UserError

    if (data is None) == (examples is None):
        raise UserError(f"expected --data or --examples, one of them, got --data {data} and --examples {examples}")
    if catalog is not None and examples is None:
        raise UserError(f"--catalog goes with --examples; with --data its items table is read, got --catalog {catalog}")
    console = Console(stderr=as_json)
    with console.status("Loading TensorFlow and Beam"):
        from model.config import TwinConfig
        from model.schema import load_schema
        from pipelines.beam_options import beam_options
        from pipelines.clustering.life_job import LifeSource
        from pipelines.clustering.run import run
        from pipelines.commands.refresh import schema_of
        from pipelines.progress_display import make_display

    version = _version(servable)
    columns = load_schema(schema or schema_of(version))
    settings = TwinConfig.load(config or version / "assets.extra" / "config.yaml")
    with make_display(console) as display:
        report = run(
            version,
            LifeSource(data, examples),
            columns,
            settings,
            out,
            beam_options(beam_args or ()),
            display.show,
            previous,
            catalog,
        )
    content = dataclasses.asdict(report)
    _print(console, out, content)
    if as_json:
        print(json.dumps(content))


def _version(servable: Path) -> Path:
    from model.errors import UserError
    from serving.publisher import latest_version, versions

    if (servable / "saved_model.pb").is_file():
        return servable
    latest = latest_version(servable)
    if latest is None:
        raise UserError(
            f"{servable}: no servable (saved_model.pb) and no folder of numbered ones; run `twin run` first"
        )
    return Path(versions(servable)[latest])


def _print(console: Console, out: Path, report: dict[str, Any]) -> None:
    def line(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    line(
        f"{out / 'lives'}: {report['users']:,} users with {report['behaviours']:,} behaviours "
        f"({report['new']:,} new, {report['earlier']:,} of the earlier run)"
    )
    if report["clusters"]:
        line(
            f"Clusters ({report['clustering']}): {report['clusters']:,} of {report['clustered']:,} behaviours "
            f"({report['compression']:.1%}), {report['mean_size']:.1f} each, {report['max_size']} at most"
        )
    line(f"Single: {report['singles']:,} behaviours, the newest of each user")
    left_out = {n: report[n] for n in ("non_behaviours", "duplicates", "already_clustered", "already_single")}
    line(f"Read: {report['read']:,}; not taken: " + ", ".join(f"{n:,} {k}" for k, n in left_out.items()))
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in report["dead_letters_by_reason"].items())
    line(f"Rejected: {rejected}; see {out / 'dead_letters'}" if rejected else "Rejected: none")
    line(f"Seconds: {report['seconds']:.1f}")
