"""Finished pieces of an experiment, each a JSON file, so that a crash costs one piece."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.aside import write_atomically

# Where an experiment keeps them, below its folder of results.
CELLS = "cells"


def fingerprint(content: Mapping[str, Any]) -> str:
    """Hash of JSON values, whatever the order of their keys; 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class CellStore:
    """A folder of cells.

    Args:
        folder: Made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def file(self, name: str, identity: Mapping[str, Any]) -> Path:
        """Where the cell is, or will be: a readable name and the start of its fingerprint."""
        return self.folder / f"{name}-{fingerprint(identity)[:12]}.json"

    def find(self, name: str, identity: Mapping[str, Any]) -> dict[str, Any] | None:
        """A finished cell's result; None where there is none of this very identity, or it cannot be read."""
        try:
            content = json.loads(self.file(name, identity).read_text())
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(content, dict) or content.get("fingerprint") != fingerprint(identity):
            return None
        return content.get("result")

    def put(self, name: str, identity: Mapping[str, Any], result: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Writes a finished cell.

        Args:
            name: Start of the file's name.
            identity: Everything that the result depends on.
            result: JSON values.
            about: Further values for the reader of the file.
        """
        content = {"fingerprint": fingerprint(identity), "identity": identity, **about, "result": result}
        write_atomically(self.file(name, identity), json.dumps(content, indent=1, allow_nan=False) + "\n")
