"""Comparisons of answers with the reference."""

from typing import Any

import numpy as np

from serving.conformance.target import RestAnswer, RpcAnswer
from serving.tensors import decode


class Mismatch(Exception):  # noqa: N818 - a finding about the server, no error of the suite
    """An answer that differs from the reference's.

    Args:
        sent: What was asked.
        expected: What the reference answers.
        received: What came.
    """

    def __init__(self, sent: str, expected: str, received: str) -> None:
        super().__init__(f"expected {expected}, received {received}")
        self.sent = sent
        self.expected = expected
        self.received = received


def equal(what: str, received: object, expected: object, sent: str = "") -> None:
    """Two values are equal.

    Raises:
        Mismatch: They are not.
    """
    if received != expected:
        raise Mismatch(sent, f"{what}: {expected!r}", repr(received))


def holds(what: str, truth: bool, received: object, sent: str = "") -> None:
    """A statement is true.

    Raises:
        Mismatch: It is not.
    """
    if not truth:
        raise Mismatch(sent, what, repr(received))


def rest_json(answer: RestAnswer, expected: Any) -> None:
    """200 with this JSON body.

    Raises:
        Mismatch: Another code, body or content type.
    """
    received = rest_ok(answer)
    if received != expected:
        raise Mismatch(answer.sent, f"200 {expected!r}", answer.shown())


def rest_ok(answer: RestAnswer) -> Any:
    """200 with a JSON body, which is returned.

    Raises:
        Mismatch: Another code, no JSON, or another content type.
    """
    if answer.status != 200:
        raise Mismatch(answer.sent, "200", answer.shown())
    _json_type(answer)
    return _parsed(answer)


def rest_error(answer: RestAnswer, status: int, text: str = "", exact: bool = False) -> None:
    """An error of this HTTP code whose message contains (or is) the text.

    Raises:
        Mismatch: Another code, message, body layout or content type.
    """
    expected = f'{status} {{"error": "{"" if exact else "..."}{text}{"" if exact else "..."}"}}'
    if answer.status != status:
        raise Mismatch(answer.sent, expected, answer.shown())
    _json_type(answer)
    body = _parsed(answer)
    if not isinstance(body, dict) or list(body) != ["error"] or not isinstance(body["error"], str):
        raise Mismatch(answer.sent, expected, answer.shown())
    message = body["error"]
    if (message != text) if exact else (text not in message):
        raise Mismatch(answer.sent, expected, answer.shown())


def rpc_ok(answer: RpcAnswer) -> Any:
    """OK; the response is returned.

    Raises:
        Mismatch: Another code.
    """
    if answer.code != "OK":
        raise Mismatch(answer.sent, "OK", answer.shown())
    return answer.message


def rpc_error(answer: RpcAnswer, code: str, text: str = "") -> None:
    """An error of this code whose message contains the text.

    Raises:
        Mismatch: Another code or message.
    """
    if answer.code != code or text not in answer.details:
        raise Mismatch(answer.sent, f"{code}: ...{text}...", answer.shown())


def outputs(answer: RpcAnswer, expected: dict[str, Any]) -> None:
    """The outputs of a Predict answer have these names and values (floats to six digits).

    Raises:
        Mismatch: Other names, shapes or values.
    """
    response = rpc_ok(answer)
    received = {name: decode(value) for name, value in response.outputs.items()}
    same = set(received) == set(expected) and all(_close(received[name], expected[name]) for name in expected)
    if not same:
        raise Mismatch(answer.sent, f"outputs {expected!r}", answer.shown())


def _close(received: np.ndarray[Any, Any], expected: Any) -> bool:
    wanted = np.asarray(expected, received.dtype if received.dtype != object else None)
    if received.shape != wanted.shape:
        return False
    if received.dtype.kind in "fc":
        return bool(np.allclose(received, wanted, rtol=1e-6, equal_nan=True))
    return bool((received == wanted).all())


def _json_type(answer: RestAnswer) -> None:
    received = answer.headers.get("content-type", "")
    if received.split(";")[0].strip() != "application/json":
        raise Mismatch(answer.sent, "Content-Type: application/json", f"Content-Type: {received!r}")


def _parsed(answer: RestAnswer) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise Mismatch(answer.sent, "a JSON body", answer.shown()) from None
