"""REST: model status and metadata."""

from typing import Any

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.target import Target

STATUS = Section.REST_STATUS
TOY = "/v1/models/toy"


def available(*versions: int) -> dict[str, Any]:
    """The status body of a model whose versions are all available."""
    ok = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": str(v), "state": "AVAILABLE", "status": ok} for v in versions]}


@case(STATUS)
def status(target: Target) -> None:
    """The status lists all versions, highest first, int64 as text and defaults printed."""
    checks.rest_json(target.get(TOY), available(2, 1))


@case(STATUS)
def status_of_a_version(target: Target) -> None:
    """The status of one version."""
    checks.rest_json(target.get(f"{TOY}/versions/1"), available(1))


@case(STATUS)
def label_is_ignored(target: Target) -> None:
    """A label in a status path is ignored, known or not: all versions."""
    checks.rest_json(target.get(f"{TOY}/labels/stable"), available(2, 1))
    checks.rest_json(target.get(f"{TOY}/labels/none"), available(2, 1))


@case(STATUS)
def layout(target: Target) -> None:
    """The status is indented by one space."""
    answer = target.get(f"{TOY}/versions/1")
    start = b'{\n "model_version_status": [\n  {\n   "version": "1",\n   "state": "AVAILABLE",\n   "status": {\n'
    checks.holds(f"a body that starts with {start!r}", answer.body.startswith(start), answer.body, answer.sent)


@case(STATUS)
def unknown_model(target: Target) -> None:
    """The status of an unknown model: 404."""
    checks.rest_error(target.get("/v1/models/no"), 404, "Could not find any versions of model no", exact=True)


@case(STATUS)
def unknown_version(target: Target) -> None:
    """The status of an unknown version: 404."""
    checks.rest_error(target.get(f"{TOY}/versions/9"), 404, "Could not find version 9 of model toy", exact=True)


@case(STATUS)
def no_name(target: Target) -> None:
    """GET /v1/models: 400."""
    checks.rest_error(target.get("/v1/models"), 400, "Missing model name in request.", exact=True)


@case(STATUS)
def metadata(target: Target) -> None:
    """The metadata of the newest version: its model_spec and signatures, under their proto names."""
    body = checks.rest_ok(target.get(f"{TOY}/metadata"))
    checks.equal("model_spec", body["model_spec"], {"name": "toy", "signature_name": "", "version": "2"})
    signature = body["metadata"]["signature_def"]["signature_def"]["serving_default"]
    checks.equal("keys", set(signature), {"inputs", "outputs", "method_name", "defaults"})
    checks.equal("method_name", signature["method_name"], "tensorflow/serving/predict")
    checks.equal("defaults", signature["defaults"], {})
    x = signature["inputs"]["x"]
    shape = {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False}
    checks.equal("inputs.x", {**x, "name": ""}, {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": ""})
    checks.holds("a tensor name in inputs.x", x["name"].endswith(":0"), x["name"])
    checks.equal("outputs", set(signature["outputs"]), {"y", "twice"})


@case(STATUS)
def metadata_unknown_rank(target: Target) -> None:
    """An input of unknown rank says so."""
    body = checks.rest_ok(target.get(f"{TOY}/metadata"))
    x = body["metadata"]["signature_def"]["signature_def"]["single"]["inputs"]["x"]
    checks.equal("tensor_shape", x["tensor_shape"], {"dim": [], "unknown_rank": True})


@case(STATUS)
def metadata_init_op(target: Target) -> None:
    """The metadata includes __saved_model_init_op."""
    signatures = checks.rest_ok(target.get(f"{TOY}/metadata"))["metadata"]["signature_def"]["signature_def"]
    checks.holds("__saved_model_init_op", "__saved_model_init_op" in signatures, sorted(signatures))
    checks.equal("its inputs", signatures["__saved_model_init_op"]["inputs"], {})


@case(STATUS, rows=[("versions/1", "1"), ("labels/stable", "1"), ("labels/canary", "2")])
def metadata_of_a_version(target: Target, path: str, version: str) -> None:
    """The metadata under {0} is that of version {1}."""
    checks.equal("version", checks.rest_ok(target.get(f"{TOY}/{path}/metadata"))["model_spec"]["version"], version)


@case(STATUS)
def metadata_of_an_unknown_model(target: Target) -> None:
    """The metadata of an unknown model: 404, in other words than its status."""
    answer = target.get("/v1/models/no/metadata")
    checks.rest_error(answer, 404, "Servable not found for request: Latest(no)", exact=True)


@case(STATUS)
def metadata_of_an_unknown_version(target: Target) -> None:
    """The metadata of an unknown version: 404."""
    answer = target.get(f"{TOY}/versions/9/metadata")
    checks.rest_error(answer, 404, "Servable not found for request: Specific(toy, 9)", exact=True)


@case(STATUS)
def metadata_of_an_unknown_label(target: Target) -> None:
    """The metadata of an unknown label: 400."""
    checks.rest_error(target.get(f"{TOY}/labels/none/metadata"), 400, "Unrecognized servable version label: none")
