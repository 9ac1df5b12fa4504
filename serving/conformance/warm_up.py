"""Warm-up requests: replayed before a version is available, and a failing one fails the load."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from tensorflow_serving.apis import prediction_log_pb2

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.flags import WARMUP_ITERATIONS
from serving.conformance.graph_models import write_counting
from serving.conformance.models import WARMED, predict_record, publish_tiny, publish_version, write_warmup
from serving.conformance.target import Target
from serving.conformance.versions import eventually

WARM_UP = Section.WARM_UP
Records = list[prediction_log_pb2.PredictionLog]


def count(target: Target, model: str) -> int | str:
    """How often a counting model was run, or the status code of the refusal."""
    answer = target.predict({"x": np.ones([1], np.float32)}, model, signature="count")
    return int(answer.message.outputs["count"].int64_val[0]) if answer.code == "OK" else answer.code


def with_warmup(records: Records) -> Callable[[Path], None]:
    """Builds a counting model with warm-up requests."""

    def build(path: Path) -> None:
        write_counting(path)
        write_warmup(path, records)

    return build


@case(WARM_UP)
def replayed(target: Target) -> None:
    """Predict, Classify, Regress and MultiInference records are replayed once each; their model names do not matter."""
    checks.equal("calls counted by the model", count(target, "warm"), WARMED)


@case(WARM_UP)
def before_available(target: Target) -> None:
    """A new version is warmed up before it answers."""
    publish_version(target.files, "warm_new", "2", with_warmup([predict_record()] * 7))
    counts: list[int | str] = []

    def arrived() -> bool:
        counts.append(count(target, "warm_new"))
        return isinstance(counts[-1], int)

    eventually(target, "version 2", arrived, "warm_new")
    checks.equal("calls counted at the first answer", counts[-1], 7)


@case(WARM_UP)
def thousand_records(target: Target) -> None:
    """1000 records are replayed."""
    publish_version(target.files, "warm_new", "3", with_warmup([predict_record()] * 1000))
    eventually(target, "1000 calls counted", lambda: count(target, "warm_new") == 1000, "warm_new")


@case(WARM_UP, rows=[(2, "an unknown signature"), (3, "an unsupported kind"), (4, "more than 1000"), (5, "no message")])
def failing_record(target: Target, version: int, what: str) -> None:
    """A version whose warm-up has {1} does not load; the old one keeps serving, and the next good one loads."""

    def build(path: Path) -> None:
        bad: dict[int, Records] = {2: [predict_record("zz")], 3: [_session_run()], 4: [predict_record()] * 1001, 5: []}
        with_warmup(bad[version])(path)
        if version == 5:
            _write_garbage(path)

    before = target.factor("warm_bad")
    publish_version(target.files, "warm_bad", str(10 * version), build)
    eventually(target, "END", lambda: target.states("warm_bad").get(10 * version) == "END", "warm_bad")
    checks.equal("factor of the old version", target.factor("warm_bad"), before)
    status = checks.rpc_ok(target.status("warm_bad", version=10 * version)).model_version_status[0].status
    if version == 5:
        checks.equal("error code (INVALID_ARGUMENT)", status.error_code, 3)
    checks.holds("an error code", status.error_code != 0, status)
    publish_tiny(target.files, "warm_bad", str(10 * version + 1), float(version))
    eventually(target, "the next version", lambda: target.factor("warm_bad") == float(version), "warm_bad")


@case(WARM_UP, on="plain")
def iterations(target: Target) -> None:
    """--num_request_iterations_for_warmup replays each record so often."""
    checks.equal("calls counted by the model", count(target, "warm"), WARMUP_ITERATIONS)


@case(WARM_UP, on="secured")
def switched_off(target: Target) -> None:
    """--enable_model_warmup=false replays nothing: a version whose warm-up would fail loads."""
    answer = target.get("/v1/models/only")
    states = [one["state"] for one in checks.rest_ok(answer)["model_version_status"]]
    checks.equal("states", states, ["AVAILABLE"], answer.sent)


def _session_run() -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    log.session_run_log.request.model_spec.name = "warm_bad"
    return log


def _write_garbage(path: Path) -> None:
    """A record that is no PredictionLog."""
    import tensorflow as tf

    from serving.warmup import WARMUP_FILE

    with tf.io.TFRecordWriter(str(path / WARMUP_FILE)) as writer:
        writer.write(b"\xff\xff\xff garbage")
