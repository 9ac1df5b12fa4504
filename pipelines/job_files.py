"""Files of Beam jobs: written beside their place, counted again from what lies there, moved when all agrees."""

import contextlib
import json
import re
import uuid
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.tfrecordio import ReadAllFromTFRecord, WriteToTFRecord

from model.errors import UserError

# A record begins with its length, 8 bytes, and the checksum of that.
_RECORD_HEAD_BYTES = 12
_MAX_RECORD_BYTES = 1 << 40


def write_examples(examples: beam.PCollection, name: str, prefix: str) -> beam.PCollection:
    """Writes examples, reads the files again and counts their records: ("written_<name>", n)."""
    return (
        examples
        | f"Write[{name}]" >> WriteToTFRecord(prefix, file_name_suffix=".gz")
        | f"ReadBack[{name}]" >> ReadAllFromTFRecord()
        | f"CountWritten[{name}]" >> beam.combiners.Count.Globally()
        | f"NameWritten[{name}]" >> beam.Map(lambda n: (f"written_{name}", n))
    )


def write_lines(lines: beam.PCollection, name: str, prefix: str) -> None:
    """Writes text lines into one file whose name begins with `prefix`."""
    _ = lines | f"Write{name}" >> beam.io.WriteToText(prefix, file_name_suffix=".jsonl", num_shards=1)


def read_lines(prefix: str) -> Iterable[list[Any]]:
    """The JSON values that `write_lines` wrote, one a line."""
    for path in list_files(prefix + "*"):
        with FileSystems.open(path) as file:
            yield from (json.loads(line) for line in file.read().decode().splitlines())


def refuse_finished(report: str) -> None:
    """Raises UserError where the report of a finished run lies: it is written last, so all the rest is there too."""
    if FileSystems.exists(report):
        raise UserError(f"{report} exists: a finished run; choose another output folder or remove it")


def list_files(pattern: str) -> list[str]:
    """The paths that match, on any Beam filesystem."""
    return [meta.path for meta in FileSystems.match([pattern])[0].metadata_list]


def check_records(path: str) -> None:
    """Raises UserError where a file does not begin as a TFRecord file does: with the length of its first record."""
    try:
        with FileSystems.open(path) as file:
            head = file.read(_RECORD_HEAD_BYTES)
    except (OSError, zlib.error) as error:
        raise UserError(f"{path}: expected a TFRecord file, compressed if its name ends in .gz: {error}") from error
    if head and (len(head) < _RECORD_HEAD_BYTES or int.from_bytes(head[:8], "little") > _MAX_RECORD_BYTES):
        raise UserError(f"{path}: expected a TFRecord file, got one that begins with {head!r}")


@contextlib.contextmanager
def user_errors(*kinds: type[UserError]) -> Iterator[None]:
    """Turns what Beam makes of a worker's error of one of these kinds back into one.

    Beam adds words to its message, or gives a traceback's text in a RuntimeError.
    """
    try:
        yield
    except (UserError, RuntimeError) as error:
        names = {kind.__name__: kind for kind in kinds}
        found = re.search(rf"(?:\b({'|'.join(names)}): |^)(.*?) \[while running", str(error))
        kind = names.get(type(error).__name__) or (found and names.get(found[1] or ""))
        if found and kind:
            raise kind(found[2]) from error
        raise


@contextlib.contextmanager
def work_folder(beside: str, names: Iterable[str]) -> Iterator[str]:
    """A folder `<beside>.tmp-<id>` with folders of these names, removed at the end, well or badly."""
    work = f"{beside.rstrip('/')}.tmp-{uuid.uuid4().hex[:12]}"
    make_folder(work)
    try:
        for name in names:
            make_folder(FileSystems.join(work, name))
        yield work
    finally:
        FileSystems.delete([work])


def make_folder(path: str) -> None:
    """Makes a folder unless it is there."""
    # Object stores have no folders; there a path counts as existing or creating it does nothing.
    if not FileSystems.exists(path):
        FileSystems.mkdirs(path)


def publish_files(source: str, target: str) -> None:
    """Moves the files of a folder to another one, after removing what an interrupted run left there."""
    stale = list_files(FileSystems.join(target, "*"))
    if stale:
        FileSystems.delete(stale)
    make_folder(target)
    files = list_files(FileSystems.join(source, "*"))
    FileSystems.rename(files, [FileSystems.join(target, FileSystems.split(path)[1]) for path in files])


def write_text(path: str, text: str) -> None:
    """Writes a text file."""
    with FileSystems.create(path, "text/plain") as file:
        file.write(text.encode())
