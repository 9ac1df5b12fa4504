"""The fidelity card must name code and tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CARD = ROOT / "docs" / "fidelity.md"
STATUSES = {"faithful", "approximated", "left out"}


def rows(card: str) -> list[list[str]]:
    """The cells of every table row of the card, without the tables' heads."""
    lines = [line.strip() for line in card.splitlines() if line.strip().startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "Paper" and not set(row[0]) <= set("-: ")]


@cache
def functions_of(file: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef))


def complaints(row: list[str], root: Path) -> list[str]:
    if len(row) != 5:
        return [f"{row[0]}: expected 5 cells (a '|' inside a cell?), got {len(row)}"]
    paper, _, status, where, pinned_by = row
    if status not in STATUSES:
        return [f"{paper}: status {status!r} is none of {sorted(STATUSES)}"]
    if status == "left out":
        return []
    found = []
    for file in re.findall(r"`([\w./]+)`", where) or ["(none named)"]:
        if not (root / file).exists():
            found.append(f"{paper}: {file} does not exist")
    tests = re.findall(r"`(tests/\w+\.py)::(\w+)`", pinned_by)
    if not tests or len(tests) != pinned_by.count("`") // 2:
        found.append(f"{paper}: expected tests as `tests/test_x.py::test_y`, got {pinned_by!r}")
    for file, name in tests:
        if not (root / file).is_file():
            found.append(f"{paper}: {file} does not exist")
        elif name not in functions_of(root / file):
            found.append(f"{paper}: {file} has no function {name}")
    return found


def test_every_row_names_code_and_tests_that_exist() -> None:
    card = rows(CARD.read_text())
    assert len(card) >= 20
    found = [complaint for row in card for complaint in complaints(row, ROOT)]
    assert not found, "\n".join(found)


def test_every_equation_has_a_row() -> None:
    text = " ".join(row[0] for row in rows(CARD.read_text()))
    missing = [number for number in range(1, 9) if f"Eq. {number}" not in text]
    assert not missing


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("| Eq. 1 | a | faithful | `code.py` | `tests/test_a.py::test_gone` |", "has no function test_gone"),
        ("| Eq. 1 | a | faithful | `code.py` | `tests/test_b.py::test_a` |", "tests/test_b.py does not exist"),
        ("| Eq. 1 | a | faithful | `gone.py` | `tests/test_a.py::test_a` |", "gone.py does not exist"),
        ("| Eq. 1 | a | faithful | `code.py` | soon |", "expected tests as"),
        ("| Eq. 1 | a | faithful | `code.py` | `tests/test_a.py::test_a`, `test_a` |", "expected tests as"),
        ("| Eq. 1 | a | nearly | `code.py` | `tests/test_a.py::test_a` |", "'nearly' is none of"),
        ("| Eq. 1 | a | faithful | `code.py` |", "expected 5 cells"),
        ("| Eq. 1 | a | approximated | `code.py` | `tests/test_a.py::test_a` |", ""),
        ("| Eq. 1 | a | left out | - | - |", ""),
    ],
)
def test_a_wrong_row_is_found(row: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "code.py").touch()
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("def test_a() -> None: ...\n")
    (parsed,) = rows(f"| Paper | Mechanism | Status | Where | Pinned by |\n|---|---|---|---|---|\n{row}\n")
    found = complaints(parsed, tmp_path)
    assert (complaint in found[0]) if complaint else not found
