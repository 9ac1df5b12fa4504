"""Data set folders: whole or not at all, and nobody's finished one is replaced unasked."""

from pathlib import Path

import pytest

from pipelines.dataset_folder import DatasetFolderError, new_dataset_folder


def write(folder: Path, text: str) -> None:
    (folder / "dataset.json").write_text(text)


def test_of_two_that_make_one_folder_the_first_stays(tmp_path: Path) -> None:
    with (
        pytest.raises(DatasetFolderError, match="made by another process meanwhile"),
        new_dataset_folder(tmp_path / "data") as temporary,
    ):
        write(temporary, "slow")
        (tmp_path / "data").mkdir()
        write(tmp_path / "data", "fast")
    assert (tmp_path / "data" / "dataset.json").read_text() == "fast"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_place_that_no_folder_can_take_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "empty")
    with (
        pytest.raises(DatasetFolderError, match="data cannot be put in place: Not a directory"),
        new_dataset_folder(tmp_path / "data") as temporary,
    ):
        write(temporary, "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "empty"]


def test_a_folder_is_replaced_where_asked_for(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with new_dataset_folder(tmp_path / "data", overwrite=True) as temporary:
            write(temporary, text)
    assert (tmp_path / "data" / "dataset.json").read_text() == "new"
    with pytest.raises(DatasetFolderError, match="exists already"), new_dataset_folder(tmp_path / "data"):
        pass
