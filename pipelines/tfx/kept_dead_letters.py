"""Keeps the dead letters of a job that failed over them."""

import contextlib
import shutil
from collections.abc import Iterator

from apache_beam.io.filesystems import FileSystems

from model.errors import UserError


@contextlib.contextmanager
def kept_dead_letters(written: str, kept: str) -> Iterator[None]:
    """Copies the dead letters out of an artifact when the block ends with a UserError: TFX removes what failed.

    Args:
        written: Folder of the letters, in the artifact; on any Beam filesystem.
        kept: Folder to copy them to, emptied first; on any Beam filesystem.

    Raises:
        UserError: The block's own, naming `kept` where it named `written`.
    """
    if FileSystems.exists(kept):
        FileSystems.delete([kept])
    try:
        yield
    except UserError as error:
        files = [found.path for found in FileSystems.match([FileSystems.join(written, "*")])[0].metadata_list]
        if not files:
            raise
        if not FileSystems.exists(kept):
            FileSystems.mkdirs(kept)
        for file in files:
            _copy(file, FileSystems.join(kept, FileSystems.split(file)[1]))
        raise type(error)(str(error).replace(written, kept)) from error


def _copy(source: str, target: str) -> None:
    # Beam's own copy wants both on one filesystem.
    with FileSystems.open(source) as read, FileSystems.create(target) as write:
        shutil.copyfileobj(read, write)
