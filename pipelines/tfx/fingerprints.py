"""Fingerprints of code and data for the cache key: TFX compares parameters and artifacts, not what they point at."""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("model", "pipelines", "serving")


@functools.cache
def code_fingerprint(module: str) -> str:
    """Hash of a module's source and that of every module of this project it imports, however indirectly or late.

    Computed once per process, as a process runs the code that it has loaded.

    Args:
        module: Dotted name, such as `pipelines.transform`.
    """
    files = set[Path]()
    pending = [module]
    while pending:
        for file in _files_of(pending.pop()):
            if file not in files:
                files.add(file)
                pending += _imports_of(file)
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(_ROOT)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _files_of(module: str) -> Iterator[Path]:
    """The file of a module and the `__init__.py` of the packages around it; nothing for names that are no module."""
    parts = module.split(".")
    if parts[0] not in _PACKAGES:
        return
    for depth in range(1, len(parts) + 1):
        path = _ROOT.joinpath(*parts[:depth])
        yield from (file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file())


def _imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def data_fingerprint(folder: str) -> str:
    """Hash of the names, sizes and modification times of a folder's raw tables, on any Beam filesystem."""
    patterns = [FileSystems.join(folder, table) for table in ("events", "items", "users")]
    found = FileSystems.match([p + suffix for p in patterns for suffix in ("/*", ".*")])
    digest = hashlib.sha256()
    for metadata in sorted((m for result in found for m in result.metadata_list), key=lambda m: m.path):
        digest.update(f"{metadata.path}\0{metadata.size_in_bytes}\0{metadata.last_updated_in_seconds}\n".encode())
    return digest.hexdigest()


def schema_fingerprint(folder: Path) -> str:
    """Hash of a schema folder's text protos."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.pbtxt")):
        digest.update(f"{file.name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
