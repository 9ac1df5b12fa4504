"""Ten times as much as the server can do."""

import time
from collections import Counter
from pathlib import Path

from tensorflow_serving.apis import predict_pb2

from serving.soak.clients import OK, Clients, first_answer, p_ms, per_second
from serving.soak.model import stamp
from serving.soak.outcome import Outcome, Say
from serving.soak.process import GRPC_THREADS, Sampler, ServerProcess

_FACTOR = 10
_REFUSED = "RESOURCE_EXHAUSTED"
_SETTLE_S = 1.0
_LONGEST_BEFORE_S = 10.0
_WINDOW_S = 2.0
_AFTER_S = 6.0
_GROWTH = 1.25
_FULL_SPEED = 0.9


def overload(source: Path, request: predict_pb2.PredictRequest, seconds: float, folder: Path, say: Say) -> Outcome:
    """Measures what as many clients as the server has threads get, then ten times both for a while, then again.

    Args:
        source: The SavedModel to serve.
        request: What the clients ask.
        seconds: How long there is too much to do.
        folder: Scratch directory.
        say: Told of the progress.
    """
    stamp(source, folder / "models" / "1", 1)
    before_s = max(_SETTLE_S, min(_LONGEST_BEFORE_S, seconds / 2))
    with ServerProcess(folder / "models", folder) as server, Sampler(server.rss_mb) as memory:
        server.start()
        expected = first_answer(server.grpc, request)
        say("measuring the capacity", before_s + seconds + _AFTER_S)
        with Clients(server.grpc, request, expected, GRPC_THREADS) as few:
            time.sleep(_SETTLE_S)
            began = time.perf_counter()
            time.sleep(before_s)
            before_end = time.perf_counter()
        capacity = per_second(few.answers, began, before_end)
        say(f"{_FACTOR} times {capacity:.0f} requests per second", seconds + _AFTER_S)
        many_began = time.perf_counter()
        with Clients(server.grpc, request, expected, _FACTOR * GRPC_THREADS, _FACTOR * capacity) as many:
            time.sleep(seconds)
            many_ended = time.perf_counter()
        say("as many as before", _AFTER_S)
        after_began = time.perf_counter()
        with Clients(server.grpc, request, expected, GRPC_THREADS) as again:
            time.sleep(_AFTER_S)
        alive = server.alive()
    counts = Counter(answer.outcome for answer in many.answers)
    others = sum(counts.values()) - counts[OK] - counts[_REFUSED]
    windows = [after_began + number * _WINDOW_S for number in range(int(_AFTER_S / _WINDOW_S))]
    after = [per_second(again.answers, window, window + _WINDOW_S) for window in windows]
    rss_before = max(memory.between(began, before_end))
    rss_peak = max(memory.between(many_began, after_began))
    length = many_ended - many_began
    outcome = Outcome("overload")
    outcome.figures = {
        "clients": _FACTOR * GRPC_THREADS,
        "capacity_per_s": round(capacity, 1),
        "offered_per_s": round(len(many.answers) / length, 1),
        "answered_per_s": round(counts[OK] / length, 1),
        "refused_per_s": round(counts[_REFUSED] / length, 1),
        "p99_before_ms": round(p_ms(few.answers, 99), 2),
        "p99_of_answered_ms": round(p_ms(many.answers, 99), 2),
        "after_first_2_s_per_s": round(after[0], 1),
        "after_2_to_4_s_per_s": round(after[1], 1),
        "after_4_to_6_s_per_s": round(after[2], 1),
        "rss_before_mb": round(rss_before, 1),
        "rss_peak_mb": round(rss_peak, 1),
    }
    outcome.exactly("neither answered rightly nor refused", others, 0)
    outcome.exactly("failed requests before and after", _failures(few) + _failures(again), 0)
    outcome.at_least("answered meanwhile", counts[OK], 1)
    outcome.at_least("refused with RESOURCE_EXHAUSTED", counts[_REFUSED], 1)
    outcome.exactly("the server runs on", int(alive), 1)
    outcome.at_most("memory at most / before", round(rss_peak / rss_before, 3), _GROWTH)
    outcome.at_least("speed in the first 2 s after / before", round(after[0] / capacity, 3), _FULL_SPEED, True)
    return outcome


def _failures(clients: Clients) -> int:
    return sum(answer.outcome != OK for answer in clients.answers)
