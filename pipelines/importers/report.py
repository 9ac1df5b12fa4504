"""What an importer wrote."""

import dataclasses
from pathlib import Path

from pipelines.dataset_folder import TimeSplit


@dataclasses.dataclass(frozen=True)
class ImportReport:
    """What was written.

    Attributes:
        out: The data set folder.
        rows: Rows of each table.
        split: The borders of train, eval and test.
    """

    out: Path
    rows: dict[str, int]
    split: TimeSplit
