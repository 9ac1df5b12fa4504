"""Times one servable in a process of its own, so that its memory is its own. Run by `serving_costs`, not by people."""

import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

_WARM_UP = 3
_IDS = "item_table/ids/.ATTRIBUTES/VARIABLE_VALUE"
_MISSING = {tf.int64: -1, tf.string: b"", tf.float32: float("nan")}
_NOW_MS = 1_700_000_000_000


def main() -> None:
    """Arguments: servable, behaviours, candidates, requests. Prints one JSON object."""
    servable, behaviours, candidates, requests = sys.argv[1], *map(int, sys.argv[2:5])
    ids = tf.train.load_checkpoint(f"{servable}/variables/variables").get_tensor(_IDS)[1:]
    seconds, before = [], _peak_mb()
    # A session, as TensorFlow Serving runs it.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], servable)
        signature = loaded.signature_def["serving_default"]
        types = {name: tf.as_dtype(info.dtype) for name, info in signature.inputs.items()}
        request = _request(types, ids, behaviours, candidates)
        feeds = {signature.inputs[name].name: values for name, values in request.items()}
        for _ in range(_WARM_UP + requests):
            start = time.perf_counter()
            session.run(signature.outputs["pctr"].name, feeds)
            seconds.append(time.perf_counter() - start)
    timed = 1e3 * np.array(seconds[_WARM_UP:])
    report = {
        "p50_ms": float(np.percentile(timed, 50)),
        "p99_ms": float(np.percentile(timed, 99)),
        "peak_rss_mb": _peak_mb(),
        "model_rss_mb": _peak_mb() - before,
    }
    print(json.dumps(report))


def _request(types: dict[str, tf.DType], ids: np.ndarray, behaviours: int, candidates: int) -> dict[str, np.ndarray]:
    """One user's request of items of the table; other features are missing, which costs the same."""
    rng = np.random.default_rng(0)
    request = {}
    for name, dtype in types.items():
        shape = [1, candidates if name.startswith("candidate/") else behaviours] if _matrix(name) else [1]
        request[name] = np.full(shape, _MISSING[dtype], dtype.as_numpy_dtype)
    for name in ("history/item_id", "candidate/item_id"):
        request[name] = rng.choice(ids, request[name].shape)
    request["history/timestamp"] = _NOW_MS - 60_000 * np.arange(behaviours, 0, -1)[np.newaxis]
    request["history/length"] = np.array([behaviours])
    request["request/timestamp"] = np.array([_NOW_MS])
    return request


def _peak_mb() -> float:
    # Not getrusage: its peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) / 1e3  # type: ignore[index]


def _matrix(name: str) -> bool:
    return name.startswith(("history/", "candidate/")) and name != "history/length"


if __name__ == "__main__":
    main()
