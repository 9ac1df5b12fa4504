"""REST: paths, methods, headers."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.target import Target

ROUTING = Section.REST_ROUTING
ERRORS = Section.REST_ERRORS
TOY = "/v1/models/toy"
SINGLE = {"signature_name": "single", "inputs": 1.0}


@case(ROUTING, rows=[("/",), ("/v1",), ("/v2/models/toy",), ("/favicon.ico",), ("/metrics",)])
def outside_of_v1(target: Target, path: str) -> None:
    """GET {0}, outside of /v1/, is answered with an HTML page and 404."""
    answer = target.get(path)
    checks.equal("status", answer.status, 404, answer.sent)
    checks.holds("Content-Type: text/html", answer.headers.get("content-type", "").startswith("text/html"), answer)
    checks.holds("a body with 'Not Found'", b"Not Found" in answer.body, answer.shown(), answer.sent)


@case(
    ROUTING,
    rows=[
        ("POST", TOY),
        ("POST", f"{TOY}:predict/"),
        ("POST", f"{TOY}:predict?x=1"),
        ("POST", f"{TOY}:explain"),
        ("POST", f"{TOY}/versions/one:predict"),
        ("POST", f"{TOY}/versions/1/labels/stable:predict"),
        ("POST", "/v1/models/:predict"),
        ("GET", f"{TOY}:predict"),
        ("GET", f"{TOY}/"),
        ("GET", f"{TOY}/versions/x"),
        ("GET", f"{TOY}/versions/-1"),
        ("GET", f"{TOY}/metadata/"),
        ("GET", "/v1/nothing"),
        ("PUT", f"{TOY}:predict"),
        ("DELETE", TOY),
        ("PATCH", TOY),
    ],
)
def malformed(target: Target, method: str, path: str) -> None:
    """{0} {1} is a malformed request: 400 with method and path."""
    body = b"{}" if method in ("POST", "PUT", "PATCH") else b""
    checks.rest_error(target.ask(method, path, body), 400, f"Malformed request: {method} {path}", exact=True)


@case(ROUTING)
def query_is_part_of_the_name(target: Target) -> None:
    """A query string belongs to the model's name: GET /v1/models/toy?x=1 asks for the model "toy?x=1"."""
    checks.rest_error(target.get(f"{TOY}?x=1"), 404, "Could not find any versions of model toy?x=1", exact=True)


@case(ROUTING)
def case_of_the_path(target: Target) -> None:
    """The path is matched without regard to case."""
    checks.rest_ok(target.get("/V1/Models/toy"))
    checks.rest_ok(target.get("/v1/MODELS/toy/VERSIONS/1"))


@case(ROUTING)
def case_of_the_name(target: Target) -> None:
    """A model's name is matched with regard to case."""
    checks.rest_error(target.get("/v1/models/TOY"), 404, "Could not find any versions of model TOY", exact=True)


@case(ROUTING)
def name_is_decoded(target: Target) -> None:
    """The name is %-decoded."""
    checks.rest_ok(target.get("/v1/models/%74o%79"))
    checks.rest_ok(target.post("/v1/models/%74oy:predict", SINGLE))


@case(ROUTING)
def label_is_decoded(target: Target) -> None:
    """The label is %-decoded."""
    checks.rest_json(target.post(f"{TOY}/labels/sta%62le:predict", SINGLE), {"outputs": 2.0})


@case(ROUTING)
def name_is_no_path(target: Target) -> None:
    """A name with dots and slashes names no file, only a model that there is not."""
    answer = target.get("/v1/models/..%2F..%2Fetc")
    checks.rest_error(answer, 404, "Could not find any versions of model ../../etc", exact=True)


@case(ROUTING, rows=[(str(2**63),), ("9" * 40,)])
def version_above_int64(target: Target, version: str) -> None:
    """Version {0}, above int64: 400 with an empty body."""
    for answer in (target.get(f"{TOY}/versions/{version}"), target.post(f"{TOY}/versions/{version}:predict", SINGLE)):
        checks.equal("status and body", (answer.status, answer.body), (400, b""), answer.sent)


@case(ROUTING)
def version_with_leading_zeros(target: Target) -> None:
    """A version in the path may have leading zeros."""
    checks.rest_json(target.post(f"{TOY}/versions/0001:predict", SINGLE), {"outputs": 2.0})


@case(ROUTING)
def options_with_origin(target: Target) -> None:
    """OPTIONS with an Origin that contains http:// or https:// is answered with 200."""
    for origin in ("https://example.org", "http://example.org"):
        answer = target.ask("OPTIONS", f"{TOY}:predict", headers={"Origin": origin})
        checks.equal("status", answer.status, 200, answer.sent)


@case(ROUTING, rows=[({},), ({"Origin": "example.org"},)])
def options_without_origin(target: Target, headers: dict[str, str]) -> None:
    """OPTIONS with the headers {0}, no Origin with a scheme, is answered with 400."""
    answer = target.ask("OPTIONS", f"{TOY}:predict", headers=headers)
    checks.equal("status", answer.status, 400, answer.sent)


@case(ROUTING)
def cors_headers(target: Target) -> None:
    """With --rest_api_enable_cors_support every kind of answer carries the CORS headers."""
    preflight = target.ask("OPTIONS", f"{TOY}:predict", headers={"Origin": "https://example.org"})
    for answer in (preflight, target.post(f"{TOY}:predict", SINGLE)):
        names = ("origin", "methods", "headers")
        received = [answer.headers.get(f"access-control-allow-{name}") for name in names]
        checks.equal("Access-Control-Allow-*", received, ["*", "POST, GET", "Content-Type"], answer.sent)


@case(ROUTING, on="plain")
def no_cors_headers(target: Target) -> None:
    """Without --rest_api_enable_cors_support no answer carries CORS headers."""
    answer = target.ask("OPTIONS", "/v1/models/new:predict", headers={"Origin": "https://example.org"})
    checks.equal("status", answer.status, 200, answer.sent)
    for one in (answer, target.post("/v1/models/new:predict", {"inputs": 1.0})):
        received = [name for name in one.headers if name.startswith("access-control")]
        checks.equal("CORS headers", received, [], one.sent)


@case(ROUTING, rows=[("text/plain",), ("application/x-www-form-urlencoded",), ("nonsense",)])
def content_type_is_ignored(target: Target, kind: str) -> None:
    """The request's Content-Type {0} changes nothing."""
    checks.rest_json(target.post(f"{TOY}:predict", SINGLE, {"Content-Type": kind}), {"outputs": 3.0})


@case(ROUTING)
def gzip_request(target: Target) -> None:
    """A body with Content-Encoding: gzip is inflated."""
    body = gzip.compress(json.dumps(SINGLE).encode())
    checks.rest_json(target.post(f"{TOY}:predict", body, {"Content-Encoding": "gzip"}), {"outputs": 3.0})


@case(ROUTING)
def no_gzip_answer(target: Target) -> None:
    """An answer is not compressed, even where the client accepts it."""
    answer = target.post(f"{TOY}:predict", SINGLE, {"Accept-Encoding": "gzip"})
    checks.equal("Content-Encoding", answer.headers.get("content-encoding"), None, answer.sent)
    checks.rest_json(answer, {"outputs": 3.0})


@case(ROUTING)
def timeout(target: Target) -> None:
    """A request that takes longer than --rest_api_timeout_in_ms ends with 504."""
    checks.rest_error(target.post(f"{TOY}:predict", {"signature_name": "slow", "inputs": 60.0}), 504)


@case(ERRORS)
def error_layout(target: Target) -> None:
    """An error's body is {"error": ...}, indented by four spaces."""
    answer = target.post(f"{TOY}:predict", "")
    checks.rest_error(answer, 400, "JSON Parse error")
    lines = answer.body.decode().splitlines()
    checks.equal("first and last line", (lines[0], lines[-1]), ("{", "}"), answer.sent)
    checks.holds('a line that starts with four spaces and "error"', lines[1].startswith('    "error": "'), lines[1])


@case(ERRORS)
def unknown_model(target: Target) -> None:
    """Predict on an unknown model: 404."""
    answer = target.post("/v1/models/nobody:predict", SINGLE)
    checks.rest_error(answer, 404, "Servable not found for request: Latest(nobody)", exact=True)


@case(ERRORS)
def unknown_version(target: Target) -> None:
    """Predict on an unknown version: 404."""
    answer = target.post(f"{TOY}/versions/7:predict", SINGLE)
    checks.rest_error(answer, 404, "Servable not found for request: Specific(toy, 7)", exact=True)


@case(ERRORS)
def unknown_label(target: Target) -> None:
    """Predict on an unknown label: 400."""
    answer = target.post(f"{TOY}/labels/none:predict", SINGLE)
    checks.rest_error(answer, 400, "Unrecognized servable version label: none")


@case(ERRORS)
def unknown_signature(target: Target) -> None:
    """Predict with an unknown signature: 400, in other words than gRPC's."""
    answer = target.post(f"{TOY}:predict", {"signature_name": "z", "inputs": 1.0})
    checks.rest_error(answer, 400, 'Serving signature name: "z" not found in signature def')


@case(ERRORS, rows=[("/no/such/file", 404), ("/", 400)])
def codes_of_the_graph(target: Target, file: str, status: int) -> None:
    """A graph that reads the file {0} fails with NOT_FOUND or FAILED_PRECONDITION, which REST answers with {1}."""
    checks.rest_error(target.post(f"{TOY}:predict", {"signature_name": "read", "inputs": [file]}), status)


@case(ERRORS)
def unavailable(target: Target) -> None:
    """UNAVAILABLE, here of a full batching queue, is answered with 503."""
    with ThreadPoolExecutor(8) as pool:
        body = {"instances": [[1, 1]]}
        work = [pool.submit(target.post, "/v1/models/queued:predict", body) for _ in range(8)]
        answers = [one.result() for one in work]
    checks.equal("codes", sorted({one.status for one in answers}), [200, 503], "8 requests at once")
    for answer in answers:
        if answer.status != 200:
            checks.rest_error(answer, 503)


@case(ERRORS)
def error_of_the_graph(target: Target) -> None:
    """An assertion that fails in the graph: 400 with its text."""
    answer = target.post(f"{TOY}:predict", {"signature_name": "checked", "inputs": [-1]})
    checks.rest_error(answer, 400, "n must not be negative")
