"""Refresh: new projections for a servable from a new catalog, without training.

The catalog is projected by a Beam job, the servable copied with the new item table, checked, and published: whatever is
published is whole, at every moment (section 3.4.2).
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from model.errors import UserError
from model.schema import DatasetSchema
from model.servable_table import TableSpec, read_ids, read_spec, replace_table, write_projector
from pipelines.dead_letters import DeadLetter, Reason
from pipelines.project_items import ProjectionError
from pipelines.projection_job import DEAD_LETTERS, project_tables
from pipelines.projection_manifest import MANIFEST
from pipelines.projection_shards import read_rows
from pipelines.readers import open_table
from pipelines.replay_warmups import replay_warmups

REPORT = "report.json"
_POLL_S = 0.5

Publish = Callable[[Callable[[Path], None]], int]
"""Calls its argument with a directory to fill, then publishes that directory whole and gives its version number."""
Show = Callable[[dict[str, Any]], None]
"""Takes an event {component, event: started | progress | finished, done, total, message}."""


class RefreshError(UserError):
    """A refresh that cannot start or must not publish; the message says why."""


@dataclasses.dataclass(frozen=True)
class RefreshReport:
    """What a refresh did.

    Attributes:
        version: The published version.
        made_from: The servable it was made from.
        rows_before, rows_after: Items in the two tables, without the unknown item.
        new_items, removed_items: Items in only one of them.
        rows_read: Rows of the catalog.
        dead_letters: Rejected rows by reason; they lie in `dead_letters_dir`.
        warmup_requests: Recorded requests that the new servable answered with finite values.
        seconds: Duration of each step.
    """

    version: int
    made_from: str
    rows_before: int
    rows_after: int
    new_items: int
    removed_items: int
    rows_read: int
    dead_letters: dict[str, int]
    dead_letters_dir: str
    warmup_requests: int
    seconds: dict[str, float]


def refresh(
    servable: Path,
    data: str,
    schema: DatasetSchema,
    options: PipelineOptions,
    publish: Publish,
    work: Path,
    show: Show,
    max_dead_letter_share: float = 0.05,
) -> RefreshReport:
    """Publishes a copy of a servable with the item table of a new catalog.

    Args:
        servable: The version to start from.
        data: Folder of raw tables; its `items` are the new catalog.
        schema: Their columns.
        options: Beam's.
        publish: Publishes what a callable builds; see `Publish`.
        work: Folder of this job alone; leftovers of a killed run in it are removed. Dead letters and report stay there.
        show: Receives progress events.
        max_dead_letter_share: Share of rejected rows above which nothing is published.

    Raises:
        RefreshError: Another refresh works in `work`, or too many rows are rejected.
        UserError: The catalog or the servable is wrong; see `project_tables` and `replay_warmups`.
    """
    with _owned(work):
        clock = _Clock(show)
        before, spec = read_ids(servable)[1:], read_spec(servable)
        projector, shards = work / "projector", work / "shards"
        with clock.step("prepare"):
            rows_total = open_table(data, "items", schema).parquet_rows
            write_projector(servable, projector)
        with clock.step("project"), _watched(shards, spec, rows_total, show):
            manifest = _project(projector, data, schema, shards, options, servable)
        letters = work / DEAD_LETTERS
        shutil.move(shards / DEAD_LETTERS, letters)
        _check_share(manifest, letters, max_dead_letter_share, data)
        after = np.zeros(0, np.int64)
        replayed = 0

        def build(out: Path) -> None:
            nonlocal after, replayed
            with clock.step("assemble"):
                rows = read_rows(shards, spec)
            with clock.step("write"):
                replace_table(servable, rows, out)
            after = rows.ids[1:].copy()
            del rows
            with clock.step("check"):
                replayed = _check(out, manifest)
            clock.start("publish")

        version = publish(build)
        clock.finish("publish")
        shutil.rmtree(projector)
        shutil.rmtree(shards)
        common = np.isin(after, before, assume_unique=True).sum()
        report = RefreshReport(
            version=version,
            made_from=str(servable),
            rows_before=len(before),
            rows_after=len(after),
            new_items=int(len(after) - common),
            removed_items=int(len(before) - common),
            rows_read=manifest["read"],
            dead_letters=manifest["dead_letters"],
            dead_letters_dir=str(letters),
            warmup_requests=replayed,
            seconds=clock.seconds,
        )
        (work / REPORT).write_text(json.dumps(dataclasses.asdict(report), indent=1) + "\n")
        return report


def _project(
    projector: Path, data: str, schema: DatasetSchema, shards: Path, options: PipelineOptions, servable: Path
) -> dict[str, Any]:
    try:
        return project_tables(projector, data, schema, shards, options, origin=servable)
    except ProjectionError:
        # A job that ran to its end found no usable item: its letters tell why.
        manifest: dict[str, Any] = json.loads((shards / MANIFEST).read_text()) if (shards / MANIFEST).is_file() else {}
        if not manifest.get("dead_letters"):
            raise
        return manifest


def _check_share(manifest: Mapping[str, Any], letters: Path, limit: float, data: str) -> None:
    read, dead = manifest["read"], sum(manifest["dead_letters"].values())
    if dead <= limit * read and manifest["rows"]:
        return
    advice = "Mend the table or raise --max-dead-letter-share" if manifest["rows"] else "Mend the table"
    table = pq.read_table(letters)
    lines = [
        f"  {reason}: {n:,} rows, first: {_first(table, reason)}" for reason, n in manifest["dead_letters"].items()
    ]
    raise RefreshError(
        f"{data}: {dead:,} of {read:,} catalog rows are unusable ({dead / read:.1%}, allowed {limit:.1%}):\n"
        + "\n".join(lines)
        + f"\nAll of them are in {letters}. {advice}. Nothing was published."
    )


def _first(letters: pa.Table, reason: str) -> DeadLetter:
    found = letters.filter(pc.field("reason") == reason).sort_by([("file", "ascending"), ("row", "ascending")])
    return DeadLetter(**found.slice(0, 1).to_pylist()[0] | {"reason": Reason(reason)})


def _check(servable: Path, manifest: Mapping[str, Any]) -> int:
    rows = read_spec(servable).rows
    if rows != manifest["rows"] + 1:
        raise RefreshError(f"the new table has {rows} rows, expected {manifest['rows']} and the unknown item")
    return replay_warmups(servable)


class _Clock:
    """Times the steps and shows their begin and end."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._started = 0.0
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.start(name)
        yield
        self.finish(name)

    def start(self, name: str) -> None:
        self._started = time.monotonic()
        self._show({"component": name, "event": "started"})

    def finish(self, name: str) -> None:
        self.seconds[name] = round(time.monotonic() - self._started, 3)
        self._show({"component": name, "event": "finished"})


@contextlib.contextmanager
def _owned(work: Path) -> Iterator[None]:
    """Locks and empties the folder. The kernel drops the lock of a process that dies, however it dies."""
    work.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefreshError(f"another refresh works in {work}; wait for it to end") from None
        for entry in os.scandir(work):
            if entry.is_dir():
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _watched(shards: Path, spec: TableSpec, total: int, show: Show) -> Iterator[None]:
    """Shows how many items the shards hold so far, judged by the files' size."""
    row_bytes = 8 + 4 * spec.projection_dim + 4 * sum(width or 1 for width in spec.index.values())
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_POLL_S):
            size = sum(file.stat().st_size for file in shards.glob("shard-*.parquet"))
            done = min(size // row_bytes, total) if total else size // row_bytes
            show(
                {"component": "project", "event": "progress", "done": done, "total": total or None, "message": "items"}
            )

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
