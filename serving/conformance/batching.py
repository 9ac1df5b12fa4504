"""Server-side batching: the fixture models answer with the size of the batch they ran in."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.graph_models import write_batched
from serving.conformance.models import publish_version
from serving.conformance.target import RpcAnswer, Target
from serving.conformance.versions import eventually

BATCHING = Section.BATCHING


def rows(*shape: int) -> dict[str, Any]:
    """An input of ones."""
    return {"x": np.ones(shape, np.float32)}


def at_once(target: Target, model: str, *inputs: dict[str, Any]) -> list[RpcAnswer]:
    """Sends requests together."""
    target.status(model)  # opens the channel
    with ThreadPoolExecutor(len(inputs)) as pool:
        return list(pool.map(lambda one: target.predict(one, model), inputs))


def together_at_last(target: Target, model: str, first: dict[str, Any], second: dict[str, Any]) -> list[RpcAnswer]:
    """Two answers that came at the same time: on a busy machine requests sent together may arrive apart."""
    for _ in range(5):
        answers = at_once(target, model, first, second)
        sums = [seen(one, "sum") for one in answers]
        if sums[0] == sums[1]:
            break
    return answers


def seen(answer: RpcAnswer, name: str) -> list[float]:
    """The values of an output."""
    value = checks.rpc_ok(answer).outputs[name]
    return list(value.int_val) or list(value.float_val)


@case(BATCHING)
def together(target: Target) -> None:
    """Requests that come within batch_timeout_micros run as one batch, and each gets its own rows."""
    first, second = {"x": np.full([2, 2], 1, np.float32)}, {"x": np.full([2, 2], 5, np.float32)}
    answers = together_at_last(target, "batched", first, second)
    checks.equal("rows of the batch", [seen(one, "rows") for one in answers], [[4, 4], [4, 4]], answers[0].sent)
    checks.equal("y", [seen(one, "y") for one in answers], [[2.0] * 4, [10.0] * 4], answers[0].sent)
    checks.equal("sum over the batch", seen(answers[0], "sum"), [24.0, 24.0], answers[0].sent)


@case(BATCHING, rows=[(1, 4), (3, 4), (4, 4), (5, 8)])
def allowed_sizes(target: Target, sent: int, ran: int) -> None:
    """allowed_batch_sizes 4 and 8: {0} rows run as {1}, and {0} rows are answered."""
    answer = target.predict(rows(sent, 2), "batched")
    checks.equal("rows of the batch", seen(answer, "rows"), [ran] * sent, answer.sent)


@case(BATCHING)
def padding_value(target: Target) -> None:
    """Padding repeats the first row of the batch's last task."""
    x = np.array([[1, 1], [10, 10], [100, 100]], np.float32)
    answer = target.predict({"x": x}, "batched")
    checks.equal("sum over the batch", seen(answer, "sum"), [224.0] * 3, answer.sent)


@case(BATCHING)
def too_large(target: Target) -> None:
    """A request above max_batch_size, without splitting: INVALID_ARGUMENT."""
    answer = target.predict(rows(9, 2), "batched")
    checks.rpc_error(answer, "INVALID_ARGUMENT", "Task size 9 is larger than maximum input batch size 8")


@case(BATCHING)
def scalar_input(target: Target) -> None:
    """A scalar input: INVALID_ARGUMENT."""
    answer = target.predict({"x": np.float32(1)}, "batched")
    checks.rpc_error(answer, "INVALID_ARGUMENT", "Batching Run() input tensors must have at least one dimension")


@case(BATCHING)
def unequal_inputs(target: Target) -> None:
    """Inputs of one request that differ in their first dimension: INVALID_ARGUMENT."""
    answer = target.predict(rows(2, 2) | {"other": np.ones([3], np.float32)}, "batched", signature="pair")
    checks.rpc_error(answer, "INVALID_ARGUMENT", "0th-dimension size")


@case(BATCHING)
def several_inputs(target: Target) -> None:
    """Several inputs are batched and padded alike."""
    answer = target.predict(rows(2, 2) | {"other": np.array([3, 4], np.float32)}, "batched", signature="pair")
    checks.outputs(answer, {"y": np.full([2, 2], 2.0), "z": [6, 8]})


@case(BATCHING, rows=[("total", "a scalar"), ("short", "one row")])
def unfit_outputs(target: Target, signature: str, what: str) -> None:
    """An output whose first dimension is not the batch ({1}) is refused."""
    answer = target.predict(rows(2, 2), "batched", signature=signature)
    checks.rpc_error(answer, "FAILED_PRECONDITION", "Batched output tensor")


@case(BATCHING)
def bad_parameters(target: Target) -> None:
    """A version whose allowed_batch_sizes do not end with max_batch_size does not load."""
    parameters = "max_batch_size { value: 8 } allowed_batch_sizes: 4"
    publish_version(target.files, "misbatched", "2", lambda path: write_batched(path, parameters))
    eventually(target, "version 2 END", lambda: target.states("misbatched").get(2) == "END", "misbatched")
    checks.equal("factor of the old version", target.factor("misbatched"), 1.0)


@case(BATCHING)
def splitting(target: Target) -> None:
    """With enable_large_batch_splitting a large request runs in parts of max_execution_batch_size."""
    answer = target.predict({"x": np.arange(20, dtype=np.float32).reshape(10, 2)}, "split")
    checks.equal("y", seen(answer, "y"), [2.0 * value for value in range(20)], answer.sent)
    checks.equal("rows of the batches", seen(answer, "rows"), [4] * 10, answer.sent)


@case(BATCHING)
def splitting_has_a_limit(target: Target) -> None:
    """With splitting a request above max_batch_size is still refused."""
    answer = target.predict(rows(17, 2), "split")
    checks.rpc_error(answer, "INVALID_ARGUMENT", "Task size 17 is larger than maximum input batch size 16")


@case(BATCHING)
def padded_lengths(target: Target) -> None:
    """With pad_variable_length_inputs requests of unequal lengths share a batch of the greatest length."""
    answers = together_at_last(target, "ragged", rows(2, 2), rows(2, 3))
    checks.equal("width of the batch", [seen(one, "width") for one in answers], [[3, 3], [3, 3]], answers[0].sent)
    checks.equal("rows of the batch", [seen(one, "rows") for one in answers], [[4, 4], [4, 4]], answers[0].sent)


@case(BATCHING)
def full_queue(target: Target) -> None:
    """A full queue: UNAVAILABLE for what does not fit, an answer for the rest."""
    answers = at_once(target, "queued", *[rows(1, 2)] * 8)
    codes = sorted({one.code for one in answers})
    checks.equal("status codes", codes, ["OK", "UNAVAILABLE"], "8 requests at once, each a batch of 0.5 s")


@case(BATCHING)
def rest_too(target: Target) -> None:
    """REST requests are batched as well."""
    answer = target.post("/v1/models/batched:predict", {"instances": [[1, 1], [2, 2]]})
    received = checks.rest_ok(answer)["predictions"]
    checks.equal("rows of the batch", [one["rows"] for one in received], [4, 4], answer.sent)


@case(BATCHING)
def others_are_not_batched(target: Target) -> None:
    """With --enable_per_model_batching_parameters a model without batching_params.pbtxt is not batched."""
    answer = target.predict({"x": np.float32(1)}, "pair")
    checks.outputs(answer, {"y": 3.0})
