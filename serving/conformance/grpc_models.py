"""gRPC: GetModelMetadata, GetModelStatus and health."""

from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.target import RpcAnswer, Target

METADATA = Section.GRPC_METADATA
STATUS = Section.GRPC_MODEL_STATUS
HEALTH = Section.GRPC_HEALTH


def signatures_of(answer: RpcAnswer) -> get_model_metadata_pb2.SignatureDefMap:
    """The signatures in a metadata answer."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response = checks.rpc_ok(answer)
    checks.holds("metadata packs a SignatureDefMap", response.metadata["signature_def"].Unpack(signatures), response)
    return signatures


@case(METADATA)
def metadata(target: Target) -> None:
    """The metadata holds every signature, __saved_model_init_op too."""
    answer = target.metadata("toy")
    signatures = signatures_of(answer).signature_def
    names = {"serving_default", "single", "__saved_model_init_op"}
    checks.holds(f"signatures {sorted(names)}", names <= set(signatures), sorted(signatures), answer.sent)
    sides = (set(signatures["serving_default"].inputs), set(signatures["serving_default"].outputs))
    checks.equal("inputs and outputs", sides, ({"x", "n"}, {"y", "twice"}), answer.sent)


@case(METADATA)
def metadata_defaults(target: Target) -> None:
    """The metadata shows the defaults of inputs."""
    answer = target.metadata("toy")
    default = signatures_of(answer).signature_def["scaled"].defaults["scale"]
    checks.equal("default of scale", list(default.float_val), [3.0], answer.sent)


@case(METADATA, rows=[({}, 2), ({"version": 1}, 1), ({"label": "stable"}, 1)])
def metadata_model_spec(target: Target, spec: dict[str, Any], version: int) -> None:
    """The metadata asked for by {0} is that of version {1}, without a signature name."""
    answer = target.metadata("toy", **spec)
    received = checks.rpc_ok(answer).model_spec
    wanted = ("toy", version, "")
    checks.equal("model_spec", (received.name, received.version.value, received.signature_name), wanted, answer.sent)


@case(METADATA)
def no_field(target: Target) -> None:
    """metadata_field must be given."""
    answer = target.metadata("toy", [])
    checks.rpc_error(answer, "INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field")


@case(METADATA, rows=[(["nothing"],), (["signature_def", "nothing"],), (["SIGNATURE_DEF"],)])
def other_field(target: Target, fields: list[str]) -> None:
    """metadata_field must be signature_def and nothing else; {0} is refused."""
    checks.rpc_error(target.metadata("toy", fields), "INVALID_ARGUMENT")


@case(METADATA)
def metadata_without_model_spec(target: Target) -> None:
    """A metadata request without model_spec: INVALID_ARGUMENT."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    checks.rpc_error(target.call(target.prediction.GetModelMetadata, request), "INVALID_ARGUMENT", "Missing ModelSpec")


@case(METADATA)
def metadata_of_unknown(target: Target) -> None:
    """The metadata of unknown models and versions: NOT_FOUND; of unknown labels: INVALID_ARGUMENT."""
    checks.rpc_error(target.metadata("q"), "NOT_FOUND", "Servable not found for request: Latest(q)")
    checks.rpc_error(target.metadata("toy", version=9), "NOT_FOUND", "Specific(toy, 9)")
    checks.rpc_error(
        target.metadata("toy", label="none"), "INVALID_ARGUMENT", "Unrecognized servable version label: none"
    )


@case(STATUS)
def status(target: Target) -> None:
    """The status lists all versions, highest first, with OK."""
    answer = target.status("toy")
    versions = checks.rpc_ok(answer).model_version_status
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    received = [(one.version, one.state, one.status.error_code, one.status.error_message) for one in versions]
    checks.equal("statuses", received, [(2, available, 0, ""), (1, available, 0, "")], answer.sent)


@case(STATUS)
def status_of_a_version(target: Target) -> None:
    """The status of one version."""
    answer = target.status("toy", version=1)
    checks.equal("versions", [one.version for one in checks.rpc_ok(answer).model_version_status], [1], answer.sent)


@case(STATUS)
def status_of_unknown(target: Target) -> None:
    """The status of unknown models and versions: NOT_FOUND."""
    checks.rpc_error(target.status("q"), "NOT_FOUND", "Could not find any versions of model q")
    checks.rpc_error(target.status("toy", version=9), "NOT_FOUND", "Could not find version 9 of model toy")


@case(STATUS)
def status_without_model_spec(target: Target) -> None:
    """A status request without model_spec: INVALID_ARGUMENT."""
    answer = target.call(target.models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest())
    checks.rpc_error(answer, "INVALID_ARGUMENT", "Missing ModelSpec")


@case(HEALTH)
def health(target: Target) -> None:
    """With --enable_grpc_healthcheck_service grpc.health.v1 says SERVING."""
    answer = target.call(health_pb2_grpc.HealthStub(target.channel).Check, health_pb2.HealthCheckRequest())
    checks.equal("status", checks.rpc_ok(answer).status, health_pb2.HealthCheckResponse.SERVING, answer.sent)


@case(HEALTH, on="plain")
def no_health(target: Target) -> None:
    """Without the flag there is no health service: UNIMPLEMENTED."""
    answer = target.call(health_pb2_grpc.HealthStub(target.channel).Check, health_pb2.HealthCheckRequest())
    checks.rpc_error(answer, "UNIMPLEMENTED")
