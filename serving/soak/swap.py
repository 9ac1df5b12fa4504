"""New versions while clients ask."""

import dataclasses
import statistics
import time
from pathlib import Path

from tensorflow_serving.apis import predict_pb2

from serving.soak.clients import OK, WRONG, Answer, Clients, first_answer, p_ms, per_second
from serving.soak.model import stamp
from serving.soak.outcome import Outcome, Say
from serving.soak.process import Sampler, ServerProcess

_SETTLE_S = 1.0
# A longer time before the swaps would tell no more.
_LONGEST_BEFORE_S = 60.0
_PATIENCE_S = 60.0
_P99_RATIO = 2.0
# What the allocator keeps of a version that is gone, and no more of a hundred.
_MEMORY_RATIO = 1.25


@dataclasses.dataclass(frozen=True)
class Swaps:
    """How versions follow each other: `seconds` long one `every_s`, under `clients`."""

    seconds: float
    every_s: float
    clients: int


def swap(source: Path, request: predict_pb2.PredictRequest, plan: Swaps, folder: Path, say: Say) -> Outcome:
    """Publishes versions that tell their number, and compares with the time before.

    Args:
        source: The SavedModel that the versions are made of.
        request: What the clients ask.
        plan: How long and how often.
        folder: Scratch directory.
        say: Told of the progress.
    """
    count = max(1, int(plan.seconds / plan.every_s))
    ready, models = folder / "ready", folder / "models"
    models.mkdir(parents=True)
    say(f"writing {count + 1} versions", plan.seconds)
    for number in range(1, count + 2):
        stamp(source, ready / str(number), number)
    (ready / "1").rename(models / "1")
    before_s = max(_SETTLE_S, min(_LONGEST_BEFORE_S, plan.seconds / 2))
    with ServerProcess(models, folder) as server, Sampler(server.rss_mb) as memory:
        server.start()
        expected = first_answer(server.grpc, request)
        with Clients(server.grpc, request, expected, plan.clients) as clients:
            say("no swaps yet", before_s + plan.seconds)
            time.sleep(_SETTLE_S)
            began = time.perf_counter()
            time.sleep(before_s)
            swaps_began = time.perf_counter()
            for done in range(count):
                say(f"{done} of {count} swaps done", plan.seconds - done * plan.every_s)
                (ready / str(done + 2)).rename(models / str(done + 2))
                time.sleep(max(0.0, swaps_began + (done + 1) * plan.every_s - time.perf_counter()))
            _wait_for(clients, count + 1)
            ended = time.perf_counter()
            say("no swaps any more", _SETTLE_S)
            time.sleep(_SETTLE_S + 1)
            after = memory.between(ended + _SETTLE_S, time.perf_counter())
        answers = clients.answers
        alive = server.alive()
    quiet = [answer for answer in answers if began <= answer.began < swaps_began]
    swapping = [answer for answer in answers if swaps_began <= answer.began < ended]
    before = memory.between(began, swaps_began)
    outcome = Outcome("swap")
    rss_before, rss_after = statistics.median(before), statistics.median(after)
    outcome.figures = {
        "clients": plan.clients,
        "swaps": count,
        "requests": len(answers),
        "per_s_without_swaps": round(per_second(answers, began, swaps_began), 1),
        "per_s_with_swaps": round(per_second(answers, swaps_began, ended), 1),
        **_times("without_swaps", quiet),
        **_times("with_swaps", swapping),
        "rss_before_mb": round(rss_before, 1),
        "rss_peak_mb": round(max(memory.between(swaps_began, ended)), 1),
        "rss_after_mb": round(rss_after, 1),
    }
    ratio = p_ms(swapping, 99) / p_ms(quiet, 99)
    outcome.exactly("failed requests", sum(answer.outcome not in (OK, WRONG) for answer in answers), 0)
    outcome.exactly("wrong answers", sum(answer.outcome == WRONG for answer in answers), 0)
    outcome.exactly("newest version that answered", max(answer.version for answer in answers), count + 1)
    outcome.exactly("the server runs on", int(alive), 1)
    outcome.at_most("p99 with swaps / without", round(ratio, 3), _P99_RATIO, depends_on_speed=True)
    outcome.at_most("memory after / before", round(rss_after / rss_before, 3), _MEMORY_RATIO, depends_on_speed=True)
    return outcome


def _wait_for(clients: Clients, version: int) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end and not any(answer.version == version for answer in clients.answers):
        time.sleep(0.1)


def _times(when: str, answers: list[Answer]) -> dict[str, float]:
    return {f"p{percent}_{when}_ms": round(p_ms(answers, percent), 2) for percent in (50, 99)}
