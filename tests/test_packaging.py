"""What the package promises to those who install only a part of it, and to Beam's workers."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ["setup.py", "README.md", "LICENSE", "twin.py", "model", "pipelines", "serving", "schemas"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, since setuptools writes beside the sources."""
    tree = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree)
    return tree


def setup(tree: Path, *arguments: str) -> Path:
    subprocess.run([sys.executable, "setup.py", "-q", *arguments], cwd=tree, check=True, capture_output=True)
    (made,) = (tree / "dist").iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    made = setup(tree, "bdist_wheel")
    return Path(shutil.move(made, tree / made.name))


def requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    return [str(value) for value in metadata.get_all("Requires-Dist", [])]


def of_extra(wheel: Path, extra: str) -> set[str]:
    lines = [line for line in requirements(wheel) if re.search(rf"extra == ['\"]{extra}['\"]", line)]
    return {re.split(r"[<>=!~;\s\[]", line, maxsplit=1)[0] for line in lines}


def test_client_and_serving_hosts_need_no_tfx(wheel: Path) -> None:
    for extra in ("client", "serving", "refresh"):
        names = of_extra(wheel, extra)
        assert names
        assert not names & {"tfx", "tfx-bsl", "tensorflow-transform", "tensorflow-recommenders"}
        assert ("apache-beam" in names) == (extra == "refresh")
    assert "tensorflow" not in of_extra(wheel, "client")
    assert {"tfx", "apache-beam", "dill", "pip"} <= of_extra(wheel, "pipelines")
    assert of_extra(wheel, "serving") | of_extra(wheel, "pipelines") <= of_extra(wheel, "dev")


def test_the_base_is_small(wheel: Path) -> None:
    base = [line for line in requirements(wheel) if "extra ==" not in line]
    assert {re.split(r"[<>=]", line, maxsplit=1)[0] for line in base} == {"typer", "rich"}


def test_the_wheel_holds_every_module_and_schema(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    wanted = {"twin.py"}
    for folder in ("model", "pipelines", "serving", "schemas"):
        for kind in ("*.py", "*.pbtxt", "*.yaml"):
            wanted |= {str(file.relative_to(ROOT)) for file in (ROOT / folder).rglob(kind)}
    assert wanted <= packed, sorted(wanted - packed)
    assert not [name for name in packed if name.startswith("tests/")]


def test_an_installed_package_finds_its_schemas(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "from model.schema import load_schema; s = load_schema('simulated'); print(s.folder)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, env={"PYTHONPATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "schemas" / "simulated")


def test_the_source_distribution_that_beam_makes_for_its_workers(tree: Path, wheel: Path) -> None:
    made = setup(tree, "sdist", "--formats=gztar")
    with tarfile.open(made) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "twin.py", "schemas/simulated/events.pbtxt", "pipelines/__init__.py", "LICENSE"} <= names


def test_every_folder_with_modules_is_a_package() -> None:
    for folder in ("model", "pipelines", "serving"):
        for file in (ROOT / folder).rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), f"{file.parent} has no __init__.py: it would not be packed"
