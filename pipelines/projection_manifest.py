"""The manifest of projection shards: written last, so whoever finds it finds everything."""

import datetime
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.project_items import Shard

MANIFEST = "manifest.json"


class WriteManifest(beam.PTransform):  # type: ignore[misc]
    """PCollection of `Shard` -> `manifest.json`, written last, when all rows are accounted for.

    Args:
        out: Folder of the shards.
        made_from: Content of the manifest's `made_from`.
        read: Singleton PCollection: number of catalog rows read.
        letters: PCollection of ((table, reason), (count, first letter)).
    """

    def __init__(
        self, out: str, made_from: Mapping[str, str], read: beam.PCollection, letters: beam.PCollection
    ) -> None:
        super().__init__()
        self._out, self._made_from, self._read, self._letters = out, dict(made_from), read, letters

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        return (
            shards.pipeline
            | "Once" >> beam.Create([self._out])
            | "WriteManifest"
            >> beam.Map(
                _write_manifest,
                self._made_from,
                beam.pvalue.AsList(shards),
                beam.pvalue.AsSingleton(self._read),
                beam.pvalue.AsList(self._letters),
            )
        )


def made_from(servable: Path) -> dict[str, str]:
    """The manifest's `made_from`: path and hash of the SavedModel."""
    digest = hashlib.sha256((servable / "saved_model.pb").read_bytes()).hexdigest()
    return {"servable": str(servable), "saved_model_sha256": digest}


def _write_manifest(
    out: str,
    made_from: Mapping[str, str],
    shards: Sequence[Shard],
    read: int,
    letters: Iterable[tuple[tuple[str, str], tuple[int, object]]],
) -> None:
    ordered = sorted(shards, key=lambda shard: shard.file)
    rows = sum(shard.rows for shard in ordered)
    dead = {reason: count for (_, reason), (count, _) in letters}
    if read != rows + sum(dead.values()):
        raise RuntimeError(f"the catalog has {read} rows, but {rows} were written and {sum(dead.values())} rejected")
    content = {
        "rows": rows,
        "shards": [{"file": shard.file, "rows": shard.rows, "sha256": shard.sha256} for shard in ordered],
        "projection_dim": len(ordered[0].max_abs) if ordered else 0,
        "max_abs": np.max([shard.max_abs for shard in ordered], axis=0).tolist() if ordered else [],
        "made_from": dict(made_from),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "read": read,
        "dead_letters": dead,
    }
    temporary = FileSystems.join(out, f".{MANIFEST}-{uuid.uuid4().hex}")
    with FileSystems.create(temporary, "text/plain", CompressionTypes.UNCOMPRESSED) as file:
        file.write(json.dumps(content, indent=1).encode())
    FileSystems.rename([temporary], [FileSystems.join(out, MANIFEST)])
