"""Reads `dataset.json`, what a data folder says of itself. Quick to import, so that mistakes in it are told at once."""

import json
from pathlib import Path
from typing import Any

from model.errors import UserError

_BORDERS = ("train_start_ms", "eval_start_ms", "test_start_ms", "end_ms")


def read_dataset_json(file: Path) -> dict[str, Any]:
    """Reads `dataset.json`.

    Raises:
        UserError: If it is missing or no JSON object.
    """
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        raise UserError(f"{file}: missing; it names the split's borders ({', '.join(_BORDERS)})") from None
    except ValueError as error:
        raise UserError(f"{file}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected a JSON object, got {type(content).__name__}")
    return content


def read_borders(file: Path) -> dict[str, int]:
    """Reads the split of a `dataset.json`: `train_start_ms`, `eval_start_ms`, `test_start_ms` and `end_ms`.

    Raises:
        UserError: If the file or a border is missing, or the borders are out of order.
    """
    split = read_dataset_json(file).get("split")
    if not isinstance(split, dict) or not all(isinstance(split.get(name), int) for name in _BORDERS):
        raise UserError(f"{file}: expected 'split' with the integers {', '.join(_BORDERS)}, got {split!r}")
    borders = {name: split[name] for name in _BORDERS}
    if list(borders.values()) != sorted(borders.values()):
        raise UserError(f"{file}: expected the split's borders in order, {' <= '.join(_BORDERS)}, got {borders}")
    return borders
