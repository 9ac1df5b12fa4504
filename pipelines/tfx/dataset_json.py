"""Reads `dataset.json`, what a data folder says of itself. Quick to import, so that mistakes in it are told at once."""

import json
from pathlib import Path
from typing import Any

from model.errors import UserError

_BORDERS = ("train_start_ms", "eval_start_ms", "test_start_ms", "end_ms")


def read_dataset_json(file: Path) -> dict[str, Any]:
    """Reads `dataset.json`.

    Raises:
        UserError: If it is missing, a folder, or no JSON object.
    """
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{file}: missing; it names the schema folder and the split's borders ({', '.join(_BORDERS)}). "
            "`twin import tables` writes it"
        ) from None
    except IsADirectoryError:
        raise UserError(f"{file}: a folder; expected a JSON file") from None
    except ValueError as error:
        raise UserError(f"{file}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected a JSON object, got {type(content).__name__}")
    return content


def read_schema_name(file: Path) -> str:
    """Reads the `schema` of a `dataset.json`: the name of a folder under `schemas/`, or a path.

    Raises:
        UserError: If the file is missing, or does not name one.
    """
    name = read_dataset_json(file).get("schema")
    if not isinstance(name, str) or not name:
        raise UserError(f"{file}: expected 'schema', the name or path of a schema folder, got {name!r}")
    return name


def read_oracle(file: Path) -> dict[str, float]:
    """Reads the `oracle` of a `dataset.json`: `auc` and `gauc` of the true probabilities on the test split, if known.

    Raises:
        UserError: If it is of another shape.
    """
    oracle = read_dataset_json(file).get("oracle") or {}
    test = oracle.get("test") or {} if isinstance(oracle, dict) else None
    if not isinstance(test, dict) or not all(_is_metric(v) for v in test.values() if v is not None):
        raise UserError(
            f'{file}: expected \'oracle\' as {{"test": {{"auc": 0.84, "gauc": 0.83}}}}, from 0 to 1, got {oracle!r}'
        )
    return {name: float(value) for name, value in test.items() if value is not None}


def _is_metric(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


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
