"""The test range in periods, for models that learn on while they are tested (TWIN, section 4.3)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from model.config import TwinConfig
from model.errors import UserError
from model.train import target_values
from pipelines.beam_options import beam_options
from pipelines.experiments.cells import fingerprint
from pipelines.experiments.dataset import Prepared, check_whole, made_aside, output_paths
from pipelines.preprocess.job import preprocess
from pipelines.preprocess.split_config import SplitConfig
from pipelines.tfx.dataset_json import read_borders, read_dataset_json


@dataclasses.dataclass(frozen=True)
class Period:
    """A part of the test range.

    Attributes:
        start_ms: Its first millisecond.
        files: Per-user Examples whose targets are its events; they are tested on first and learned from after. None
            where it has no target.
    """

    start_ms: int
    files: list[str]


def read_periods(data: Prepared, config: TwinConfig, count: int) -> list[Period]:
    """The periods that `dataset.json` names as `test_periods_ms`, or else `count` of equal time.

    Args:
        data: The data set.
        config: `feedback_delay_ms`, `max_dead_letter_share`.
        count: Periods where the data set names none.

    Raises:
        UserError: If those that it names are no integers, or do not ascend within the test range, from its start on.
    """
    file = data.data / "dataset.json"
    borders = read_borders(file)
    start, end = borders["test_start_ms"], borders["end_ms"]
    equal = np.linspace(start, end, count, endpoint=False).astype(np.int64).tolist()
    starts = read_dataset_json(file).get("test_periods_ms", equal)
    listed = isinstance(starts, list) and starts and all(isinstance(first, int) for first in starts)
    if not listed or starts[0] != start or any(a >= b for a, b in zip(starts, [*starts[1:], end], strict=True)):
        raise UserError(
            f"{file}: expected the integers 'test_periods_ms' ascending from the test split's start {start} to before "
            f"its end {end}, got {starts}"
        )
    of_users = target_values(data.files("test"), "target/timestamp", tf.int64)
    times = np.concatenate([np.zeros(0, np.int64), *of_users])
    return [
        Period(first, _examples(data, config, (first, last, end)) if np.any((times >= first) & (times < last)) else [])
        for first, last in zip(starts, [*starts[1:], end], strict=True)
    ]


def _examples(data: Prepared, config: TwinConfig, borders: Sequence[int]) -> list[str]:
    """The period is the `train` split of a preprocessing of its own; what comes after it is the `test` split."""
    start, stop, end = borders
    split = SplitConfig(start, stop, stop, end, config.feedback_delay_ms, config.max_dead_letter_share)
    folder = data.folder / "periods" / fingerprint(dataclasses.asdict(split))[:16]
    if not folder.is_dir():
        # Two processes may want the same period.
        with made_aside(folder) as temporary:
            preprocess(data.data, data.schema, split, output_paths(temporary, folder), beam_options())
    check_whole(folder)
    return sorted(str(path) for path in (folder / "examples" / "Split-train").glob("*.gz"))
