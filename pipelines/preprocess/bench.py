"""Measures the preprocessing job on a data set folder."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from model.errors import UserError
from model.schema import load_schema
from pipelines.beam_options import beam_options
from pipelines.peak_memory import peak_memory
from pipelines.preprocess.job import OutputPaths, preprocess
from pipelines.preprocess.split_config import SplitConfig


def measure(data: Path, out: Path, beam_args: Sequence[str]) -> dict[str, float | int]:
    """Runs the job once.

    Args:
        data: A folder of raw tables with `dataset.json`.
        out: Where its results go.
        beam_args: Beam's flags.

    Returns:
        `events`, `seconds`, `events_per_s` and `peak_rss_gb` (10^9 bytes; this process and its children).

    Raises:
        UserError: `dataset.json` is missing or names no split.
    """
    file = data / "dataset.json"
    if not file.is_file():
        raise UserError(f"{file}: missing; expected a folder written by `twin simulate` or `twin import`")
    dataset = json.loads(file.read_text())
    try:
        schema, borders = load_schema(dataset["schema"]), dataset["split"]
        names = ("train_start_ms", "eval_start_ms", "test_start_ms", "end_ms")
        split = SplitConfig(*(int(borders[name]) for name in names))
    except KeyError as error:
        raise UserError(f"{file}: {error} is missing; expected schema and split with its four borders") from None
    with peak_memory() as peak:
        begin = time.monotonic()
        report = preprocess(data, schema, split, OutputPaths.under(out), beam_options(beam_args))
        seconds = time.monotonic() - begin
    events = report.events["read"]
    return {
        "events": events,
        "seconds": round(seconds, 3),
        "events_per_s": round(events / seconds, 1),
        "peak_rss_gb": round(peak[0] / 1e9, 3),
    }
