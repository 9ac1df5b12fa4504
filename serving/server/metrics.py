"""The server's metrics, under TF Serving's names, labels and bucket limits.

The metrics belong to the process, as in TF Serving. The page is written here and not by the Prometheus client library:
that one appends `_total` to the names of counters and prints bucket limits differently, and dashboards name both.

Differences from TF Serving: a metric holds at most 10,000 label sets (names of models that do not exist come from the
client), sums are printed in full where TF Serving prints six digits, and line breaks in labels are escaped.
"""

import re
import threading
from bisect import bisect_right

_MAX_CELLS = 10_000


class Metric:
    """A named family of values, one per label set.

    Args:
        path: TF Serving's name of the metric, such as /tensorflow/serving/request_count.
        labels: Names of its labels.
    """

    kind = ""

    def __init__(self, path: str, *labels: str) -> None:
        self.name = re.sub("[^A-Za-z0-9_]", ":", path)
        self._labels = labels
        self._lock = threading.Lock()

    def lines(self) -> list[str]:
        """The samples in Prometheus' text format."""
        raise NotImplementedError

    def _pairs(self, values: tuple[str, ...]) -> str:
        return ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(self._labels, values, strict=True))


class Counter(Metric):
    """Sums up. Arguments as of `Metric`."""

    kind = "counter"

    def __init__(self, path: str, *labels: str) -> None:
        super().__init__(path, *labels)
        self._cells: dict[tuple[str, ...], int] = {}

    def increment(self, *labels: str, by: int = 1) -> None:
        """Adds to the value of a label set."""
        with self._lock:
            if labels in self._cells or len(self._cells) < _MAX_CELLS:
                self._cells[labels] = self._cells.get(labels, 0) + by

    def value(self, *labels: str) -> int:
        """The value of a label set; 0 when nothing was ever added."""
        with self._lock:
            return self._cells.get(labels, 0)

    def lines(self) -> list[str]:
        """The samples in Prometheus' text format."""
        with self._lock:
            cells = dict(self._cells)
        return [f"{self.name}{{{self._pairs(labels)}}} {value}" for labels, value in cells.items()]


class Sampler(Metric):
    """A histogram with exponential bucket limits.

    Args:
        path: As of `Metric`.
        labels: As of `Metric`.
        scale: The first limit.
        growth: Each limit divided by the one before it.
        limits: Number of limits; one more bucket takes what is above them.
    """

    kind = "histogram"

    def __init__(self, path: str, *labels: str, scale: float, growth: float, limits: int) -> None:
        super().__init__(path, *labels)
        self._limits = [scale * growth**power for power in range(limits)]
        self._cells: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def add(self, value: float, *labels: str) -> None:
        """Counts a value for a label set."""
        # A value equal to a limit belongs to the bucket above it, as in TensorFlow's own histograms.
        bucket = bisect_right(self._limits, value)
        with self._lock:
            cell = self._cells.get(labels)
            if cell is None:
                if len(self._cells) >= _MAX_CELLS:
                    return
                cell = self._cells[labels] = [0] * (len(self._limits) + 1)
                self._sums[labels] = 0.0
            cell[bucket] += 1
            self._sums[labels] += value

    def sum(self, *labels: str) -> float:
        """The sum of a label set's values."""
        with self._lock:
            return self._sums.get(labels, 0.0)

    def lines(self) -> list[str]:
        """The samples in Prometheus' text format."""
        with self._lock:
            cells = [(labels, list(cell), self._sums[labels]) for labels, cell in self._cells.items()]
        names = [f"{limit:g}" for limit in self._limits] + ["+Inf"]
        out: list[str] = []
        for labels, cell, total in cells:
            pairs = self._pairs(labels)
            before = f"{pairs}," if pairs else ""
            count = 0
            for name, members in zip(names, cell, strict=True):
                count += members
                out.append(f'{self.name}_bucket{{{before}le="{name}"}} {count}')
            out += [f"{self.name}_sum{{{pairs}}} {total!r}", f"{self.name}_count{{{pairs}}} {count}"]
        return out


REQUEST_COUNT = Counter("/tensorflow/serving/request_count", "model_name", "status")
REQUEST_LATENCY = Sampler(
    "/tensorflow/serving/request_latency", "model_name", "API", "entrypoint", scale=10, growth=1.8, limits=33
)
RUNTIME_LATENCY = Sampler(
    "/tensorflow/serving/runtime_latency", "model_name", "API", "runtime", scale=10, growth=1.8, limits=33
)
EXAMPLE_COUNTS = Sampler("/tensorflow/serving/request_example_counts", "model", scale=1, growth=2, limits=15)
EXAMPLE_COUNT_TOTAL = Counter("/tensorflow/serving/request_example_count_total", "model")
QUEUING_LATENCY = Sampler(
    "/tensorflow/serving/batching_session/queuing_latency", "thread_pool_name", scale=100, growth=1.2, limits=52
)
WRAPPED_RUN_COUNT = Counter("/tensorflow/serving/batching_session/wrapped_run_count")
PADDING_SIZE = Sampler(
    "/tensorflow/serving/batching_session/padding_size", "execution_batch_size", scale=1, growth=2, limits=14
)
INPUT_BATCH_SIZE = Sampler("/tensorflow/serving/batching_session/input_batch_size", scale=1, growth=2, limits=14)
PROCESSED_BATCH_SIZE = Sampler(
    "/tensorflow/serving/batching_session/processed_batch_size", scale=1, growth=2, limits=14
)
WARMUP_LATENCY = Sampler(
    "/tensorflow/serving/model_warmup_latency", "model_path", "status", scale=10, growth=1.8, limits=33
)
LOAD_ATTEMPT_COUNT = Counter("/tensorflow/cc/saved_model/load_attempt_count", "model_path", "status")
LOAD_LATENCY = Counter("/tensorflow/cc/saved_model/load_latency", "model_path")

_METRICS: list[Metric] = sorted(
    (metric for metric in list(globals().values()) if isinstance(metric, Metric)), key=lambda metric: metric.name
)


def metrics_page() -> str:
    """Every metric in Prometheus' text format, in the order of their names."""
    lines: list[str] = []
    for metric in _METRICS:
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines += metric.lines()
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    # A name may come as bytes that are not UTF-8.
    value = value.encode("utf-8", "replace").decode()
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
