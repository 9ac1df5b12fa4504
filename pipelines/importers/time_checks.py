"""Looks at event times and split borders for mistakes that leave no other trace."""

from datetime import UTC, datetime, timedelta

from pipelines.dataset_folder import TimeSplit
from pipelines.importers.errors import DataImportError
from pipelines.importers.times import TimeSample

DAY_MS = 86_400_000
_YEAR_1990_MS = 631_152_000_000
_TO_MS = {"seconds": 1_000.0, "microseconds": 1e-3, "nanoseconds": 1e-6}


def unit_warning(typical: int, now_ms: int) -> str | None:
    """What is odd about a typical time, if it is no time between 1990 and a year after `now_ms` in milliseconds."""
    if _plausible(typical, now_ms):
        return None
    text = f"the typical time {typical} is {_date(typical)} as milliseconds since 1970, which are expected"
    for unit, factor in _TO_MS.items():
        if _plausible(typical * factor, now_ms):
            return f"{text}; it looks like {unit}: as such it is {_date(typical * factor)}"
    return text


def check_splits(times: TimeSample, split: TimeSplit) -> list[str]:
    """A warning for eval and for test if no event lies in it.

    Raises:
        DataImportError: If no event lies in train.
    """
    borders = (split.train_start_ms, split.eval_start_ms, split.test_start_ms, split.end_ms)
    warnings = []
    for name, start, end in zip(("train", "eval", "test"), borders[:-1], borders[1:], strict=True):
        if ((times.sample_ms >= start) & (times.sample_ms < end)).any():
            continue
        text = f"the {name} split is empty: no event from {_date(start)} to before {_date(end)} ({start} to {end} ms)"
        if name == "train":
            raise DataImportError(f"{text}; choose other shares, or the starts of train, eval and test")
        warnings.append(text)
    return warnings


def _plausible(time_ms: float, now_ms: int) -> bool:
    return _YEAR_1990_MS <= time_ms <= now_ms + 365 * DAY_MS


def _date(time_ms: float) -> str:
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    except OverflowError:
        return "beyond the year 9999" if time_ms > 0 else "before the year 1"
    return moment.strftime("%Y-%m-%d %H:%M:%S")
