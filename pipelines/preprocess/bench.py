"""Measures the preprocessing job on a data set folder."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from model.errors import UserError
from model.schema import load_schema
from pipelines.beam_options import beam_options
from pipelines.preprocess.job import OutputPaths, preprocess
from pipelines.preprocess.split_config import SplitConfig

_SAMPLE_SECONDS = 0.05


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
    with _peak_memory() as peak:
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


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Samples the resident memory of this process and its children; the list's one value is the peak in bytes."""
    process = psutil.Process()
    peak = [0]
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(_SAMPLE_SECONDS):
            total = 0
            for one in [process, *process.children(recursive=True)]:
                try:
                    total += one.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak[0] = max(peak[0], total)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
