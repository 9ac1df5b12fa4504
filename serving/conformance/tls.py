"""TLS and mutual TLS for gRPC, on a server with batching that has no parameters file."""

import grpc
import numpy as np

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.target import Target

TLS = Section.TLS


def use_tls(target: Target, client_certificate: bool) -> None:
    """Makes the target speak TLS, with or without a certificate of its own."""
    files = target.files
    key, chain = (files / "client.key").read_bytes(), (files / "client.pem").read_bytes()
    pair = (key, chain) if client_certificate else (None, None)
    credentials = grpc.ssl_channel_credentials((files / "ca.pem").read_bytes(), *pair)
    assert target.grpc_address is not None
    target.use_channel(grpc.secure_channel(target.grpc_address, credentials))


@case(TLS, on="secured")
def mutual(target: Target) -> None:
    """With ssl_config_file gRPC speaks TLS, and takes clients whose certificate its authority signed."""
    use_tls(target, client_certificate=True)
    answer = target.predict({"x": np.ones([1, 2], np.float32)}, "only")
    checks.equal("code", answer.code, "OK", answer.sent)


@case(TLS, on="secured")
def no_certificate(target: Target) -> None:
    """With client_verify a client without a certificate is refused."""
    use_tls(target, client_certificate=False)
    answer = target.predict({"x": np.ones([1, 2], np.float32)}, "only", timeout_s=5.0)
    checks.holds(
        "UNAVAILABLE or DEADLINE_EXCEEDED", answer.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"), answer.shown()
    )


@case(TLS, on="secured")
def plain_text(target: Target) -> None:
    """With ssl_config_file a client without TLS is refused."""
    answer = target.predict({"x": np.ones([1, 2], np.float32)}, "only", timeout_s=5.0)
    checks.holds(
        "UNAVAILABLE or DEADLINE_EXCEEDED", answer.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"), answer.shown()
    )


@case(TLS, on="secured")
def rest_stays_plain(target: Target) -> None:
    """TLS is gRPC's alone: REST stays plain HTTP."""
    checks.rest_ok(target.get("/v1/models/only"))


@case(Section.BATCHING, on="secured")
def limit_without_a_file(target: Target) -> None:
    """--enable_batching without a parameters file: 1000 rows run, 1001 do not."""
    use_tls(target, client_certificate=True)
    taken = target.predict({"x": np.ones([1000, 2], np.float32)}, "only")
    refused = target.predict({"x": np.ones([1001, 2], np.float32)}, "only")
    checks.equal("code for 1000 rows", taken.code, "OK", taken.sent)
    checks.rpc_error(refused, "INVALID_ARGUMENT", "Task size 1001 is larger than maximum input batch size 1000")


@case(Section.START, on="secured")
def single_model_by_flags(target: Target) -> None:
    """--model_name and --model_base_path serve the highest version of one model."""
    answer = target.get("/v1/models/only")
    versions = [one["version"] for one in checks.rest_ok(answer)["model_version_status"]]
    checks.equal("versions", versions, ["1"], answer.sent)
