"""What is made aside appears whole, or leaves nothing."""

from pathlib import Path

import pytest

from pipelines.aside import file_aside, folder_aside, write_atomically


def test_a_file_replaces_what_was_there_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "report"
    write_atomically(file, "old ä")
    with file_aside(file) as stream:
        stream.write(b"new")
        assert file.read_text() == "old ä"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_an_interrupted_file_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "report"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), file_aside(file) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_stays_where_it_was_moved(tmp_path: Path) -> None:
    with folder_aside(tmp_path / "new" / "made") as temporary:
        (temporary / "part").touch()
        temporary.rename(tmp_path / "new" / "made")
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [
        Path("new"),
        Path("new/made"),
        Path("new/made/part"),
    ]


def test_an_interrupted_folder_goes(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), folder_aside(tmp_path / "made") as temporary:
        (temporary / "half").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_are_not_in_each_others_way(tmp_path: Path) -> None:
    with folder_aside(tmp_path / "made") as first, folder_aside(tmp_path / "made") as second:
        assert first != second
    with file_aside(tmp_path / "file") as one, file_aside(tmp_path / "file") as other:
        one.write(b"one")
        other.write(b"other")
    assert (tmp_path / "file").read_text() == "one"
