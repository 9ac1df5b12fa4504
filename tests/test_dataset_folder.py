"""Data set folders: whole or not at all, and nobody's finished one is replaced unasked."""

import errno
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
    (tmp_path / "circle").symlink_to("circle")
    with (
        pytest.raises(DatasetFolderError, match=r"/circle is a link that leads back to itself"),
        new_dataset_folder(tmp_path / "circle"),
    ):
        pytest.fail("told too late")
    told = pytest.raises(DatasetFolderError, match="cannot be put in place: Not a directory")
    with told, new_dataset_folder(tmp_path / "data") as temporary:
        write(temporary, "new")
        (tmp_path / "data").write_text("made meanwhile")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["circle", "data"]


def test_a_folder_is_replaced_where_asked_for(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with new_dataset_folder(tmp_path / "data", overwrite=True) as temporary:
            write(temporary, text)
    assert (tmp_path / "data" / "dataset.json").read_text() == "new"
    with pytest.raises(DatasetFolderError, match="exists already"), new_dataset_folder(tmp_path / "data"):
        pass


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_the_old_folder_stays_where_the_new_one_cannot_come(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data", "old")
    rename = Path.rename
    moved: list[Path] = []

    def second_fails(self: Path, target: Path) -> Path:
        moved.append(self)
        if len(moved) == 2:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    with (
        pytest.raises((KeyboardInterrupt, DatasetFolderError)),
        new_dataset_folder(tmp_path / "data", overwrite=True) as temporary,
    ):
        write(temporary, "new")
    assert (tmp_path / "data" / "dataset.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_what_is_no_data_set_is_not_replaced_where_it_came_meanwhile(tmp_path: Path) -> None:
    with (
        pytest.raises(DatasetFolderError, match="made by another process meanwhile"),
        new_dataset_folder(tmp_path / "data", overwrite=True) as temporary,
    ):
        write(temporary, "new")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "thesis").touch()
    assert (tmp_path / "data" / "thesis").is_file()


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()

    def refuse(self: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with (
        pytest.raises(DatasetFolderError, match="/data cannot be used: Permission denied"),
        new_dataset_folder(tmp_path / "data", overwrite=True),
    ):
        pytest.fail("told too late")


@pytest.mark.parametrize("current", [".", "below"])
def test_the_current_folder_is_not_replaced(current: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "below").mkdir(parents=True)
    write(tmp_path / "data", "old")
    monkeypatch.chdir(tmp_path / "data" / current)
    with (
        pytest.raises(
            DatasetFolderError, match="/data is replaced as a whole and holds the current folder; call this outside it"
        ),
        new_dataset_folder(tmp_path / "data", overwrite=True),
    ):
        pytest.fail("told too late")
    assert (tmp_path / "data" / "dataset.json").read_text() == "old"


def test_what_is_read_is_not_replaced(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    write(tmp_path / "data", "old")
    (tmp_path / "link").symlink_to(raw)
    for source in (tmp_path / "data", raw, tmp_path / "link"):
        with (
            pytest.raises(DatasetFolderError, match=f"/data is replaced as a whole and holds {source}, which is read"),
            new_dataset_folder(tmp_path / "data", overwrite=True, reads=[tmp_path, source]),
        ):
            pytest.fail("told too late")
    assert raw.is_dir()


def test_a_current_folder_that_is_gone_hinders_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with new_dataset_folder(tmp_path / "data") as temporary:
        write(temporary, "new")
    with (
        pytest.raises(DatasetFolderError, match="other cannot be used: No such file or directory"),
        new_dataset_folder(Path("other")),
    ):
        pytest.fail("told too late")
    assert (tmp_path / "data" / "dataset.json").is_file()


def test_a_link_to_a_data_set_is_replaced_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_text("old")
    (tmp_path / "link").symlink_to("data")
    with new_dataset_folder(tmp_path / "link", overwrite=True) as temporary:
        (temporary / "dataset.json").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "data" / "dataset.json").read_text() == "new"
