"""Sends one request, from a file or recorded with the servable, and shows the answer."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from model.errors import UserError
from serving.client import Client, Prediction, Signature
from serving.last_run import last_model_dir
from serving.server.json_values import to_array
from serving.server.serving_error import ServingError
from serving.tensors import TensorError, decode
from serving.warmup import first_predict_request

_ITEMS = "candidate/item_id"
_SCORES = "pctr"
_PREVIEW = 6

Arrays = dict[str, NDArray[np.generic]]


class RequestError(UserError):
    """A request that cannot be read or does not fit the signature."""


def request_from_file(path: str, signature: Signature) -> Arrays:
    """Reads a request in columnar JSON: `{"inputs": {name: value}}` or the inputs alone.

    Args:
        path: The file; "-" = standard input.
        signature: Gives the dtypes.

    Returns:
        Input name to array.

    Raises:
        RequestError: Not readable, no JSON object, or inputs that are missing, unknown or of another type.
    """
    try:
        document = json.loads(sys.stdin.read() if path == "-" else Path(path).read_text())
    except (OSError, ValueError) as error:
        raise RequestError(f"request {path}: {error}") from None
    values = document.get("inputs", document) if isinstance(document, dict) else None
    if not isinstance(values, dict):
        raise RequestError(f'request {path}: expected {{"inputs": {{name: value}}}} with the names {_names(signature)}')
    missing, extra = signature.inputs.keys() - values.keys(), values.keys() - signature.inputs.keys()
    if missing or extra:
        raise RequestError(
            f"request {path}: missing inputs {sorted(missing)}, unknown inputs {sorted(extra)}; "
            f"signature {signature.name} has {_names(signature)}"
        )
    return {name: _array(path, name, value, signature) for name, value in values.items()}


def request_from_warmup(folder: Path | None) -> tuple[str, Arrays]:
    """Takes the first request recorded with a servable.

    Args:
        folder: A servable, a model directory or the file itself; None = the last run's.

    Returns:
        Signature name and input name to array.

    Raises:
        UserError: There is no run, no recorded request, or it cannot be read.
    """
    request = first_predict_request(last_model_dir() if folder is None else folder)
    try:
        inputs = {name: decode(proto) for name, proto in request.inputs.items()}
    except TensorError as error:
        raise RequestError(f"the recorded request cannot be read: {error}") from None
    return request.model_spec.signature_name or "serving_default", inputs


def predict(
    address: str,
    over_rest: bool,
    model: str,
    version: int | None,
    signature: str | None,
    request: str | None,
    warmup: Path | None,
    timeout_s: float,
) -> tuple[Arrays, Prediction]:
    """Asks a server.

    Args:
        address: `host:port`.
        over_rest: REST instead of gRPC.
        model: Name of the model.
        version: Version to ask; None = the newest.
        signature: Name of the signature; None = the recorded request's, or serving_default.
        request: JSON file of the request, "-" = standard input; None = a recorded one.
        warmup: Where the recorded one is; None = with the last run's servable.
        timeout_s: Deadline.

    Returns:
        The inputs sent, and the answer.

    Raises:
        UserError: The request cannot be read, or (PredictError) the server gave no prediction.
    """
    with (
        Client(rest=address, timeout_s=timeout_s) if over_rest else Client(grpc=address, timeout_s=timeout_s) as client
    ):
        if request is None:
            recorded, inputs = request_from_warmup(warmup)
            name = signature or recorded
        else:
            name = signature or "serving_default"
            known = client.signatures(model, version)
            if name not in known:
                raise RequestError(f'model {model} has no signature "{name}"; it has {", ".join(sorted(known))}')
            inputs = request_from_file(request, known[name])
        return inputs, client.predict(inputs, name, model, version)


def top_candidates(inputs: Arrays, prediction: Prediction, count: int) -> list[dict[str, float | int]]:
    """The first user's best candidates, best first; empty where the request or the answer has none."""
    items, scores = inputs.get(_ITEMS), prediction.outputs.get(_SCORES)
    if items is None or scores is None or scores.ndim != 2 or scores.shape != items.shape or not len(scores):
        return []
    order = np.argsort(-scores[0].astype(np.float64), kind="stable")[:count]
    return [
        {"rank": rank, "item_id": int(items[0][index]), "position": int(index), "pctr": float(scores[0][index])}
        for rank, index in enumerate(order.tolist(), start=1)
    ]


def as_json(inputs: Arrays, prediction: Prediction, count: int) -> dict[str, Any]:
    """The answer as one JSON object."""
    outputs = {name: _texts(value) if value.dtype == object else value for name, value in prediction.outputs.items()}
    return {
        "model_version": prediction.model_version,
        "latency_ms": round(prediction.ms, 3),
        "top": top_candidates(inputs, prediction, count),
        "outputs": {name: value.tolist() for name, value in outputs.items()},
    }


def show(inputs: Arrays, prediction: Prediction, count: int, console: Console) -> None:
    """Prints the answer as a table of the best candidates, or of the outputs where there are no candidates."""
    top = top_candidates(inputs, prediction, count)
    if top:
        users, candidates = prediction.outputs[_SCORES].shape
        table = Table("rank", "item", "position", "pCTR", title=f"best of {candidates} candidates, user 1 of {users}")
        for row in top:
            table.add_row(str(row["rank"]), str(row["item_id"]), str(row["position"]), f"{row['pctr']:.4f}")
    else:
        table = Table("output", "dtype", "shape", "values")
        for name, value in prediction.outputs.items():
            preview = ", ".join(str(item) for item in value.reshape(-1)[:_PREVIEW].tolist())
            more = ", ..." if value.size > _PREVIEW else ""
            table.add_row(name, str(value.dtype), str(list(value.shape)), preview + more)
    console.print(table)
    version = "" if prediction.model_version is None else f" by version {prediction.model_version}"
    console.print(f"answered{version} in {prediction.ms:.1f} ms")


def _array(path: str, name: str, value: Any, signature: Signature) -> NDArray[np.generic]:
    try:
        return to_array(value, signature.inputs[name].data_type)
    except ServingError as error:
        raise RequestError(f"request {path}, input {name}: {error.message}") from None


def _texts(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Strings as text; bytes that are none are replaced."""
    texts = np.empty(values.size, dtype=object)
    texts[:] = [value.decode(errors="replace") for value in values.reshape(-1).tolist()]
    return texts.reshape(values.shape)


def _names(signature: Signature) -> str:
    return ", ".join(sorted(signature.inputs))
