"""Atomic publication of numbered version directories."""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import UserError

_LOCK_NAME = ".publish.lock"
_TEMPORARY = re.compile(r"\.tmp-\d+-\d+(-\d+)?")
_INT64_MAX = 2**63 - 1


class PublishError(UserError):
    """A version that cannot be published: its number is taken or invalid, or the build wrote nothing."""


def versions(model_dir: Path) -> dict[int, Path]:
    """Lists the version directories of a model.

    A version is a directory whose base name reads as an int64; leading zeros are allowed ("00000123" is 123), and of
    two names for the same number the lexically later one counts. Every other name is ignored.

    Args:
        model_dir: The folder that holds the version directories; it may be missing.

    Returns:
        Version number to path, ascending.
    """
    found: dict[int, Path] = {}
    try:
        names = sorted(entry.name for entry in os.scandir(model_dir) if _is_directory(entry))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for name in names:
        if re.fullmatch(r"[0-9]+", name) and int(name) <= _INT64_MAX:
            found[int(name)] = model_dir / name
    return dict(sorted(found.items()))


def latest_version(model_dir: Path) -> int | None:
    """The highest published version number below `model_dir`, or None when there is none."""
    return max(versions(model_dir), default=None)


def publish(model_dir: Path, build: Callable[[Path], None], version: int | None = None) -> int:
    """Builds a new version and makes it appear at once and whole.

    `build` fills a temporary directory `.tmp-<version>-<pid>`, whose name no server takes for a version. Then every
    file and directory is flushed to disk and the directory renamed to its number, so a reader sees either nothing or
    all of it, also after a crash. Several publishers may work at once: the number is fixed at the rename. Temporary
    directories of killed publishers are removed by the next one; those of living ones are kept.

    Args:
        model_dir: The folder that holds the version directories; created when missing.
        build: Writes the version's files into the directory it is given.
        version: The number to publish as; default the highest published number plus one.

    Returns:
        The published version number.

    Raises:
        PublishError: `version` is negative, beyond int64 or already published, or `build` wrote nothing.
    """
    if version is not None:
        _check_free(model_dir, version)
    model_dir.mkdir(parents=True, exist_ok=True)
    temporary, owner = _make_temporary(model_dir, version)
    try:
        build(temporary)
        if not any(temporary.iterdir()):
            raise PublishError(f"the build of a new version of {model_dir} wrote no file; nothing is published")
        flush_tree(temporary)
        with _locked(model_dir):
            number = _next_version(model_dir) if version is None else version
            _check_free(model_dir, number)
            os.rename(temporary, model_dir / str(number))
        _flush(model_dir)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(owner)
    return number


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A symbolic link that leads nowhere, such as to itself.
        return False


def _next_version(model_dir: Path) -> int:
    return (latest_version(model_dir) or 0) + 1


def _check_free(model_dir: Path, version: int) -> None:
    if not 0 <= version <= _INT64_MAX:
        raise PublishError(f"version {version} is no valid version number: expected 0 to {_INT64_MAX}")
    taken = versions(model_dir).get(version)
    if taken is not None:
        raise PublishError(f"version {version} is already published at {taken}; choose another or leave it out")


def _make_temporary(model_dir: Path, version: int | None) -> tuple[Path, int]:
    """Creates the temporary directory and the lock that marks its publisher as alive."""
    with _locked(model_dir):
        _remove_leftovers(model_dir)
        base = f".tmp-{_next_version(model_dir) if version is None else version}-{os.getpid()}"
        path = model_dir / base
        attempt = 0
        while path.exists():
            attempt += 1
            path = model_dir / f"{base}-{attempt}"
        path.mkdir()
        # The kernel drops this lock when the process dies, however it dies; a process id could be reused.
        owner = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return path, owner


def _remove_leftovers(model_dir: Path) -> None:
    for entry in list(os.scandir(model_dir)):
        if not (_TEMPORARY.fullmatch(entry.name) and entry.is_dir()):
            continue
        descriptor = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(entry.path)
        finally:
            os.close(descriptor)


@contextmanager
def _locked(model_dir: Path) -> Iterator[None]:
    descriptor = os.open(model_dir / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def flush_tree(root: Path) -> None:
    """Waits until a folder with all that is in it is on the disk."""
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            _flush(Path(folder) / name)
        _flush(Path(folder))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
