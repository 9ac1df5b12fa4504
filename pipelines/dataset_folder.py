"""Writes data set folders: Parquet shards, `dataset.json`, all or nothing."""

import contextlib
import dataclasses
import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import UserError
from model.schema import SCHEMAS_DIR, DatasetSchema
from pipelines.aside import folder_aside

ROWS_PER_SHARD = 1_000_000


class DatasetFolderError(UserError):
    """The folder to write exists already, or the split borders asked for are impossible."""


@dataclasses.dataclass(frozen=True)
class TimeSplit:
    """Half-open time ranges: train [train_start, eval_start), eval [eval_start, test_start), test [test_start, end).

    All in milliseconds since the epoch; events before `train_start_ms` are history only.

    Raises:
        DatasetFolderError: If the borders are not in order.
    """

    train_start_ms: int
    eval_start_ms: int
    test_start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        """Checks the order of the borders."""
        borders = dataclasses.astuple(self)
        if list(borders) != sorted(borders):
            raise DatasetFolderError(
                f"split borders must be in order train_start <= eval_start <= test_start <= end, got {borders} (ms)"
            )

    @staticmethod
    def by_share(times_ms: np.ndarray, target_share: float, eval_share: float, test_share: float) -> "TimeSplit":
        """Puts the borders at quantiles of the events' times.

        Args:
            times_ms: Event times, int64 `[n]`, any order; a fair sample of them will do, but it needs the last one.
            target_share: Share of all events, the latest, that are targets of any split; the rest is history only.
            eval_share, test_share: Shares of all events that are eval and test targets; the test comes last.

        Raises:
            DatasetFolderError: If there are no events or the shares do not nest.
        """
        shares = {"target_share": target_share, "eval_share": eval_share, "test_share": test_share}
        nested = min(eval_share, test_share) >= 0 and eval_share + test_share < target_share <= 1
        if not nested:  # also where one is NaN
            raise DatasetFolderError(
                "expected 0 <= eval_share + test_share < target_share <= 1 (the difference is the train split), "
                f"got {shares}"
            )
        if len(times_ms) == 0:
            raise DatasetFolderError("no event has a readable timestamp, so no split borders can be set")
        ordered = np.sort(times_ms)
        cuts = [1 - target_share, 1 - eval_share - test_share, 1 - test_share]
        rows = [min(round(cut * len(ordered)), len(ordered) - 1) for cut in cuts]
        train, evaluation, test = (int(ordered[row]) for row in rows)
        return TimeSplit(train, evaluation, test, int(ordered[-1]) + 1)


class ShardWriter:
    """Writes one table as `<folder>/part-<n>.parquet`, a new file about every `rows_per_shard` rows.

    Use as a context manager. Memory is bounded by one shard, whatever the table's size.
    """

    def __init__(self, folder: Path, rows_per_shard: int = ROWS_PER_SHARD) -> None:
        """Creates the folder.

        Args:
            folder: Where the shards go.
            rows_per_shard: A shard is closed as soon as it has this many rows.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._rows_per_shard = rows_per_shard
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._shards = 0
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        """Appends rows."""
        self._pending.append(table)
        self._pending_rows += table.num_rows
        self.rows += table.num_rows
        if self._pending_rows >= self._rows_per_shard:
            self._flush()

    def _flush(self) -> None:
        file = self._folder / f"part-{self._shards:05d}.parquet"
        pq.write_table(pa.concat_tables(self._pending), file, compression="zstd", row_group_size=self._rows_per_shard)
        self._shards += 1
        self._pending = []
        self._pending_rows = 0

    def __enter__(self) -> "ShardWriter":
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Writes what is pending; a table without any row was never written and leaves no file."""
        if error is None and self._pending:
            self._flush()


@contextlib.contextmanager
def new_dataset_folder(out: Path, overwrite: bool = False, reads: Sequence[Path] = ()) -> Iterator[Path]:
    """Yields a temporary folder that becomes `out` when the block ends without an error, and vanishes otherwise.

    Args:
        out: The data set folder.
        overwrite: Whether it may take the place of another.
        reads: What it is made from, which must not lie in it.

    Raises:
        DatasetFolderError: If `out` exists and is not to be overwritten, is not a data set folder, holds what is read
            or the current folder, or cannot be created.
    """
    try:
        # A link cannot be replaced, what it points to can. (Path.resolve raises where links go in a circle.)
        out = Path(os.path.realpath(out))
        _check_place(out, overwrite, reads)
    except OSError as error:
        raise DatasetFolderError(f"{out} cannot be used: {error.strerror}") from error
    with contextlib.ExitStack() as stack:
        try:
            temporary = stack.enter_context(folder_aside(out))
        except OSError as error:
            raise DatasetFolderError(f"{out} cannot be created: {error.strerror}: {error.filename}") from error
        yield temporary
        try:
            if overwrite and (out / "dataset.json").is_file():
                old = stack.enter_context(folder_aside(out))
                # Whatever ends this before the new folder is in place brings the old one back.
                stack.callback(lambda: out.exists() or old.rename(out))
                out.rename(old)
            temporary.rename(out)
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                raise DatasetFolderError(f"{out} was made by another process meanwhile, and is kept") from error
            raise DatasetFolderError(f"{out} cannot be put in place: {error.strerror}") from error


def _check_place(out: Path, overwrite: bool, reads: Sequence[Path]) -> None:
    with contextlib.suppress(FileNotFoundError):  # a current folder that is gone is in no other
        if _holds(out, Path.cwd()):
            # The shell would stand in a folder that is gone.
            raise DatasetFolderError(f"{out} is replaced as a whole and holds the current folder; call this outside it")
    for source in reads:
        if _holds(out, source):
            raise DatasetFolderError(f"{out} is replaced as a whole and holds {source}, which is read; choose another")
    if out.is_symlink():
        raise DatasetFolderError(f"{out} is a link that leads back to itself")
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        if not overwrite:
            raise DatasetFolderError(f"{out} exists already; choose another folder or pass --overwrite")
        if not (out / "dataset.json").is_file():
            raise DatasetFolderError(f"{out} has no dataset.json, so it is no data set folder: not overwritten")


def _holds(folder: Path, place: Path) -> bool:
    place = Path(os.path.realpath(place))
    return folder == place or folder in place.parents


def write_dataset_json(
    folder: Path,
    schema: DatasetSchema,
    split: TimeSplit,
    oracle: Mapping[str, Mapping[str, float | None]] | None = None,
    **extra: Any,
) -> None:
    """Writes `dataset.json`.

    Args:
        folder: The data set folder.
        schema: Its schema; named by its folder's name if that lies under `schemas/`, else by its absolute path.
        split: The borders of train, eval and test.
        oracle: Per split (`eval`, `test`) the best reachable metrics (`auc`, `gauc`), where they are known.
        **extra: Further JSON values, such as counts.
    """
    known = schema.folder.resolve().parent == SCHEMAS_DIR
    content = {
        "schema": schema.name if known else str(schema.folder.resolve()),
        "oracle": oracle,
        "split": dataclasses.asdict(split),
        **extra,
    }
    with open(folder / "dataset.json", "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
