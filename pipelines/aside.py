"""Files and folders that are there whole or not at all: made beside their place, then moved there."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def file_aside(file: Path) -> Iterator[BinaryIO]:
    """A stream whose bytes become `file`, in place of what is there, when the block ends without an error."""
    temporary = _beside(file)
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(file)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(file: Path, text: str) -> None:
    """Writes a text file."""
    with file_aside(file) as stream:
        stream.write(text.encode())


@contextlib.contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """A new folder that the block fills and moves to the place of `folder`; unless moved, it goes at the end."""
    temporary = _beside(folder)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path) -> Path:
    # A random name: processes of two containers may have the same id.
    return path.parent / f".tmp-{path.name}-{uuid.uuid4().hex[:8]}"
