"""Clusters whole lives with a servable's item table: what `twin cluster` does."""

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from model.config import TwinConfig
from model.errors import UserError
from model.schema import DatasetSchema
from pipelines.clustering.durations import catalog_durations, table_durations
from pipelines.clustering.life_job import REPORT, LifeSource, cluster_lives
from pipelines.clustering.life_report import LifeReport
from pipelines.clustering.vectors import ItemVectors, save_vectors, servable_vectors, with_durations
from pipelines.job_files import refuse_finished

Show = Callable[[dict[str, Any]], None]
"""Takes an event {component, event: started | finished}."""


def run(
    servable: Path,
    source: LifeSource,
    schema: DatasetSchema,
    config: TwinConfig,
    out: Path,
    options: PipelineOptions,
    show: Show,
    previous: Path | None = None,
    catalog: Path | None = None,
) -> LifeReport:
    """Reads the item vectors and clusters the lives; see `cluster_lives`.

    Args:
        servable: A SavedModel directory with an item table.
        source: The behaviours.
        schema: The declared columns.
        config: How to cluster.
        out: Folder to write, on a file system that all workers share; it also holds the vectors while the job runs.
        options: Beam's.
        show: Receives the begin and end of each step.
        previous: The `out` of an earlier run.
        catalog: Catalog Examples (`*.gz`), for the durations of the items; only with Examples and a schema that has a
            `duration`.

    Raises:
        UserError: See `cluster_lives`; or the servable has no item table, durations are missing, or `out` is no folder.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: expected a folder, or a place to make one: {error.strerror}") from error
    refuse_finished(str(out / REPORT))
    vectors = out / f".vectors-{uuid.uuid4().hex[:8]}"
    try:
        with _step("item vectors", show):
            save_vectors(_with_durations(servable_vectors(servable), source, schema, catalog), vectors)
        with _step("clusters", show):
            earlier = None if previous is None else str(previous)
            return cluster_lives(source, vectors, schema, config, str(out), options, earlier)
    finally:
        shutil.rmtree(vectors, ignore_errors=True)


def _with_durations(
    vectors: ItemVectors, source: LifeSource, schema: DatasetSchema, catalog: Path | None
) -> ItemVectors:
    if schema.duration is None:
        return vectors
    if source.data is not None:
        return with_durations(vectors, *table_durations(source.data, schema, schema.duration))
    files = [] if catalog is None else sorted(str(file) for file in catalog.glob("*.gz"))
    if not files:
        raise UserError(
            f"schema {schema.name!r} groups behaviours by time played over {schema.duration.name!r}, which per-user "
            f"Examples do not have: expected the catalog's Examples (*.gz), got {catalog}"
        )
    return with_durations(vectors, *catalog_durations(files, schema.duration))


@contextlib.contextmanager
def _step(name: str, show: Show) -> Iterator[None]:
    show({"component": name, "event": "started"})
    try:
        yield
    except BaseException:
        show({"component": name, "event": "failed"})
        raise
    show({"component": name, "event": "finished"})
