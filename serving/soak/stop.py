"""Servers that are told to end, and servers that are killed."""

import os
import signal
import socket
import time
from pathlib import Path

import grpc
import psutil
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.soak.clients import OK, WRONG, Clients, connect, first_answer, same
from serving.soak.deadline import begin_work, counts
from serving.soak.model import stamp
from serving.soak.outcome import Outcome, Say
from serving.soak.process import ServerProcess

_RUNNING = 4
# Longer than any machine takes to begin all of them and to hear the signal.
_WORK_S = 8.0
_PATIENCE_S = 60.0
_KILL_AFTER_S = 1.0


def sigterm(source: Path, request: predict_pb2.PredictRequest, folder: Path, say: Say) -> Outcome:
    """Sends SIGTERM while calls run.

    Args:
        source: The SavedModel of `write_model`.
        request: What is asked after the signal.
        folder: Scratch directory.
        say: Told of the progress.
    """
    stamp(source, folder / "models" / "1", 1)
    # As many operations at once as calls: one that waits for a thread has not begun.
    flags = (f"--tensorflow_inter_op_parallelism={2 * _RUNNING}",)
    with ServerProcess(folder / "models", folder, flags) as server, connect(server.grpc) as channel:
        server.start()
        say("calls run", 2 * _WORK_S)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        calls = [begin_work(stub, _WORK_S, _PATIENCE_S) for _ in range(_RUNNING)]
        while counts(stub)[0] < _RUNNING:
            time.sleep(0.02)
        server.send(signal.SIGTERM)
        signalled = time.perf_counter()
        refused_s = _seconds_until_refused(server.grpc)
        running_then = sum(not call.done() for call in calls)
        taken_later = sum(_code(server.grpc, request) == OK for _ in range(10))
        codes = [call.code().name for call in calls]
        work_ended = time.perf_counter()
        exit_code = server.wait(_PATIENCE_S)
        exited = time.perf_counter()
    outcome = Outcome("sigterm")
    outcome.figures = {
        "calls_running": _RUNNING,
        "refuses_after_s": round(refused_s, 3),
        "work_ended_after_s": round(work_ended - signalled, 3),
        "exit_after_work_s": round(exited - work_ended, 3),
    }
    outcome.exactly("calls that ran and were finished", codes.count(OK), _RUNNING)
    outcome.exactly("calls taken after the first refusal", taken_later, 0)
    outcome.exactly("calls still running at the first refusal", running_then, _RUNNING)
    outcome.exactly("exit code", "none" if exit_code is None else exit_code, 0)
    return outcome


def kill(source: Path, request: predict_pb2.PredictRequest, times: int, folder: Path, say: Say) -> Outcome:
    """Kills a server under load and starts it again, with the same ports and directories.

    Args:
        source: The SavedModel to serve.
        request: What the clients ask.
        times: How often.
        folder: Scratch directory.
        say: Told of the progress.
    """
    models = folder / "models"
    stamp(source, models / "1", 1)
    restart_s, wrong, orphans = 0.0, 0, 0
    with ServerProcess(models, folder) as server:
        first_start_s = server.start()
        expected = first_answer(server.grpc, request)
        files = _files(models)
        for done in range(times):
            say(f"{done} of {times} kills", (times - done) * (first_start_s + _KILL_AFTER_S))
            with Clients(server.grpc, request, expected, 4) as clients:
                time.sleep(_KILL_AFTER_S)
                children = server.status().children(recursive=True)
                server.send(signal.SIGKILL)
                server.wait()
                killed = time.perf_counter()
                restart_s = max(restart_s, server.start())
                _wait_for_answer(clients, time.perf_counter())
            wrong += sum(answer.outcome == WRONG for answer in clients.answers)
            orphans += sum(psutil.pid_exists(child.pid) for child in children)
        right = int(same(first_answer(server.grpc, request), expected))
        # Clients that lost their server find the new one: asked once more, on the connections they had.
        again = sum(answer.outcome == OK and answer.began > killed for answer in clients.answers)
        left = _files(server.temporary)
        server.send(signal.SIGTERM)
        exit_code = server.wait(_PATIENCE_S)
    outcome = Outcome("kill")
    outcome.figures = {
        "kills": times,
        "first_start_s": round(first_start_s, 2),
        "slowest_restart_s": round(restart_s, 2),
        "answers_on_old_connections": again,
    }
    outcome.exactly("wrong answers", wrong, 0)
    outcome.exactly("serves again", right, 1)
    outcome.at_least("answers to the clients of the killed server", again, 1)
    outcome.exactly("files left in the temporary directory", len(left), 0)
    outcome.exactly("files changed in the model directory", len(_files(models) ^ files), 0)
    outcome.exactly("processes left", orphans, 0)
    outcome.exactly("exit code of the last server", "none" if exit_code is None else exit_code, 0)
    return outcome


def _seconds_until_refused(address: str) -> float:
    # A bare connection: gRPC's client may wait seconds, or until another of its calls ends, before it tells a refusal.
    host, port = address.split(":")
    began = time.perf_counter()
    while time.perf_counter() - began < _PATIENCE_S:
        try:
            socket.create_connection((host, int(port)), _PATIENCE_S).close()
        except ConnectionError:
            break
        time.sleep(0.01)
    return time.perf_counter() - began


def _code(address: str, request: predict_pb2.PredictRequest) -> str:
    with connect(address) as channel:
        call = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict.future(request, timeout=_PATIENCE_S)
        code: grpc.StatusCode = call.code()
        return str(code.name)


def _wait_for_answer(clients: Clients, since: float) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        if any(answer.outcome == OK and answer.began > since for answer in clients.answers):
            return
        time.sleep(0.05)


def _files(folder: Path) -> set[tuple[str, int, int]]:
    found = [Path(parent) / name for parent, _, names in os.walk(folder) for name in names]
    return {(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found}
