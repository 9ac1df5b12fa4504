import os
from pathlib import Path

import pytest

from pipelines.tfx import fingerprints
from pipelines.tfx.fingerprints import code_fingerprint, data_fingerprint, schema_fingerprint


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "model").mkdir()
    files = {
        "pipelines/__init__.py": "",
        "pipelines/job.py": "import os\nfrom model.parts import thing\n",
        "model/__init__.py": "",
        "model/parts.py": "def thing():\n    import model.late\n",
        "model/late.py": "X = 1\n",
        "model/unrelated.py": "Y = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(fingerprints, "_ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "matters"),
    [
        ("pipelines/job.py", True),
        ("model/parts.py", True),
        ("model/late.py", True),
        ("model/__init__.py", True),
        ("model/unrelated.py", False),
    ],
)
def test_code_counts_exactly_if_it_is_imported(project: Path, file: str, matters: bool) -> None:
    before = code_fingerprint.__wrapped__("pipelines.job")
    with (project / file).open("a") as out:
        out.write("# changed\n")
    assert (code_fingerprint.__wrapped__("pipelines.job") != before) == matters


def test_the_trainer_depends_on_the_model_and_the_transform() -> None:
    trainer = code_fingerprint("pipelines.tfx.trainer")
    assert trainer != code_fingerprint("pipelines.tfx.example_gen")


def test_data_fingerprint_sees_new_changed_and_renamed_tables(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    events = tmp_path / "events" / "part-0.csv"
    events.write_text("a")
    (tmp_path / "items.csv").write_text("b")
    seen = {data_fingerprint(str(tmp_path))}
    (tmp_path / "notes.txt").write_text("no table")
    assert data_fingerprint(str(tmp_path)) in seen
    os.utime(events, (1, 1))
    seen.add(data_fingerprint(str(tmp_path)))
    (tmp_path / "items.csv").write_text("bb")
    seen.add(data_fingerprint(str(tmp_path)))
    events.rename(tmp_path / "events" / "part-1.csv")
    seen.add(data_fingerprint(str(tmp_path)))
    (tmp_path / "users.csv").write_text("c")
    seen.add(data_fingerprint(str(tmp_path)))
    assert len(seen) == 5


def test_schema_fingerprint_sees_the_text(tmp_path: Path) -> None:
    (tmp_path / "events.pbtxt").write_text("a")
    before = schema_fingerprint(tmp_path)
    (tmp_path / "events.pbtxt").write_text("b")
    assert schema_fingerprint(tmp_path) != before
