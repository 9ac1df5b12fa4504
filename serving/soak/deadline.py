"""Clients that stop waiting."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving.soak.clients import connect
from serving.soak.model import named_request, stamp
from serving.soak.outcome import Outcome, Say
from serving.soak.process import GRPC_THREADS, ServerProcess

_WORK_S = 3.0
_DEADLINE_S = 0.3
_PATIENCE_S = 30.0
# Seconds; work that goes on would take all processors for that whole second.
_BUSY = 0.5


def deadline(source: Path, rounds: int, folder: Path, say: Say) -> Outcome:
    """Sends work that takes ten times its deadline, and counts in the graph what of it was finished.

    Args:
        source: The SavedModel of `write_model`.
        rounds: How often as many calls as the server has threads are sent.
        folder: Scratch directory.
        say: Told of the progress.
    """
    stamp(source, folder / "models" / "1", 1)
    codes: Counter[str] = Counter()
    late_s, busy = 0.0, 0.0
    with ServerProcess(folder / "models", folder) as server:
        server.start()
        with connect(server.grpc) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            counts(stub)
            for done in range(rounds):
                say(f"{done} of {rounds} rounds", (rounds - done) * (1 + _DEADLINE_S))
                began = time.perf_counter()
                calls = [begin_work(stub, _WORK_S, _DEADLINE_S) for _ in range(GRPC_THREADS)]
                codes.update(str(call.code().name) for call in calls)
                late_s = max(late_s, time.perf_counter() - began - _DEADLINE_S)
                used = sum(server.status().cpu_times()[:2])
                time.sleep(1.0)
                busy = max(busy, sum(server.status().cpu_times()[:2]) - used)
            say("looking what was done", _WORK_S)
            # Whatever was not given up would be finished by then.
            time.sleep(max(0.0, _WORK_S - 1))
            begun, finished = counts(stub)
            control = begin_work(stub, 0.1, _PATIENCE_S).code().name
            after = counts(stub)[1]
    outcome = Outcome("deadline")
    calls_sent = rounds * GRPC_THREADS
    outcome.figures = {
        "calls": calls_sent,
        "deadline_s": _DEADLINE_S,
        "work_s": _WORK_S,
        "begun": begun,
        "latest_answer_after_deadline_s": round(late_s, 3),
        "cpu_s_in_the_second_after": round(busy, 3),
    }
    outcome.exactly("calls that ended with DEADLINE_EXCEEDED", codes["DEADLINE_EXCEEDED"], calls_sent)
    outcome.exactly("finished in vain", finished, 0)
    outcome.exactly("work without a deadline", f"{control}, counted {after}", "OK, counted 1")
    outcome.at_most("CPU time in the second after the deadline, s", round(busy, 3), _BUSY, depends_on_speed=True)
    return outcome


def begin_work(stub: Any, seconds: float, timeout_s: float) -> Any:
    """Sends a call that takes so long and is counted at its begin and end; does not wait for it."""
    return stub.Predict.future(named_request({"seconds": np.array(seconds)}, "work"), timeout=timeout_s)


def counts(stub: Any) -> tuple[int, int]:
    """How many of these calls have begun and ended in the graph since the server started."""
    request = named_request({"ask": np.array(0)}, "counts")
    outputs = stub.Predict(request, timeout=_PATIENCE_S, wait_for_ready=True).outputs
    return outputs["begun"].int64_val[0], outputs["finished"].int64_val[0]
