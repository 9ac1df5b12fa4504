"""Thousands of requests that are wrong in some way."""

import http.client
import json
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import predict_pb2

from serving.soak.clients import connect, first_answer, same
from serving.soak.model import stamp
from serving.soak.mutations import GrpcRequest, Mutations, RestRequest
from serving.soak.outcome import Outcome, Say
from serving.soak.process import ServerProcess

# INTERNAL is what gRPC answers to bytes that are no message; with other words it would be a failure of the server.
_GRPC = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNIMPLEMENTED"}
_NO_MESSAGE = "Exception deserializing request!"
_REST = {200, 400, 404, 413, 501}
_TIMEOUT_S = 30.0
# Memory is compared between the end of the first fifth, by when all code has run, and the end.
_WARM_UP = 0.2
_GROWTH = 1.1
_SAMPLES = 20
_SHOWN = 5


def fuzz(source: Path, request: predict_pb2.PredictRequest, count: int, seed: int, folder: Path, say: Say) -> Outcome:
    """Sends mutated gRPC messages and JSON documents, one after another.

    Args:
        source: The SavedModel to serve.
        request: The right request that the wrong ones are made of.
        count: How many.
        seed: Of the mutations.
        folder: Scratch directory.
        say: Told of the progress.
    """
    stamp(source, folder / "models" / "1", 1)
    mutations = Mutations(request, seed)
    statuses: Counter[str] = Counter()
    improper: list[str] = []
    rss: list[float] = []
    with ServerProcess(folder / "models", folder) as server, connect(server.grpc) as channel:
        server.start()
        expected = first_answer(server.grpc, request)
        began = time.perf_counter()
        for number in range(count):
            sent = mutations.next()
            proper, status = _grpc(channel, sent) if isinstance(sent, GrpcRequest) else _rest(server.rest, sent)
            statuses[status] += 1
            if not proper:
                improper.append(f"{status}: {sent!r:.300}")
                if not server.alive():
                    break
            if number % max(1, count // (5 * _SAMPLES)) == 0:
                rss.append(server.rss_mb())
                left = (time.perf_counter() - began) / (number + 1) * (count - number)
                say(f"{number} of {count} requests", left)
        alive = server.alive()
        right = alive and same(first_answer(server.grpc, request), expected)
    warm = rss[int(len(rss) * _WARM_UP) :][:_SAMPLES]
    rss_warm, rss_end = statistics.median(warm), statistics.median(rss[-_SAMPLES:])
    outcome = Outcome("fuzz")
    outcome.figures = {
        "requests": sum(statuses.values()),
        "seed": seed,
        **{f"status_{name}": number for name, number in sorted(statuses.items())},
        "rss_warm_mb": round(rss_warm, 1),
        "rss_end_mb": round(rss_end, 1),
        **{f"improper_{number}": text for number, text in enumerate(improper[:_SHOWN])},
    }
    outcome.exactly("answers without a proper status", len(improper), 0)
    outcome.exactly("requests answered", sum(statuses.values()), count)
    outcome.exactly("the server runs on and answers rightly", int(right), 1)
    outcome.at_most("memory at the end / after a fifth", round(rss_end / rss_warm, 3), _GROWTH)
    return outcome


def _grpc(channel: grpc.Channel, sent: GrpcRequest) -> tuple[bool, str]:
    call = channel.unary_unary(sent.method, None, None)
    try:
        call(sent.message, timeout=_TIMEOUT_S)
    except grpc.RpcError as error:
        found: Any = error
        code, details = found.code().name, found.details() or ""
        return code in _GRPC or details == _NO_MESSAGE, f"grpc_{code}"
    return True, "grpc_OK"


def _rest(address: str, sent: RestRequest) -> tuple[bool, str]:
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
    try:
        connection.request(sent.verb, sent.path, sent.body, sent.headers)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        return False, f"rest_{type(error).__name__}"
    finally:
        connection.close()
    return response.status in _REST and _explains(response, content), f"rest_{response.status}"


def _explains(response: http.client.HTTPResponse, content: bytes) -> bool:
    """Whether an error says what it is; two kinds of request are refused without words, as TF Serving does."""
    if response.status == 200 or not content or "json" not in (response.getheader("content-type") or ""):
        return True
    # Bytes of the request that are no text come back as they are, as from TF Serving.
    return bool(json.loads(content.decode(errors="replace")).get("error"))
