"""REST: classify and regress."""

from typing import Any

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.target import RestAnswer, Target

EXAMPLES = Section.REST_EXAMPLES
TOY = "/v1/models/toy"


def ask(target: Target, verb: str, examples: Any, signature: str = "", **body: Any) -> RestAnswer:
    """POSTs a classify or regress body; the signature is named like the verb unless given."""
    return target.post(f"{TOY}:{verb}", {"signature_name": signature or verb, "examples": examples, **body})


@case(EXAMPLES)
def classify(target: Target) -> None:
    """Classify answers a [label, score] pair for each class of each example."""
    answer = ask(target, "classify", [{"x": 0.25}, {"x": 0.5, "word": "pos"}])
    checks.rest_json(answer, {"results": [[["neg", 0.25], ["other", 0.75]], [["pos", 0.5], ["other", 0.5]]]})


@case(EXAMPLES)
def classify_by_version_and_label(target: Target) -> None:
    """Classify and regress take versions and labels in the path."""
    for path in ("versions/1", "labels/canary"):
        answer = target.post(f"{TOY}/{path}:classify", {"signature_name": "classify", "examples": [{"x": 0.25}]})
        checks.rest_json(answer, {"results": [[["neg", 0.25], ["other", 0.75]]]})
        answer = target.post(f"{TOY}/{path}:regress", {"signature_name": "regress", "examples": [{"x": 0.25}]})
        checks.rest_json(answer, {"results": [0.25]})


@case(EXAMPLES)
def classes_only(target: Target) -> None:
    """Classify with labels but no scores: the scores are 0."""
    checks.rest_json(ask(target, "classify", [{"x": 0.25}], "labels"), {"results": [[["neg", 0.0], ["other", 0.0]]]})


@case(EXAMPLES)
def scores_only(target: Target) -> None:
    """Classify with scores but no labels: the labels are empty."""
    checks.rest_json(ask(target, "classify", [{"x": 0.25}], "scores"), {"results": [[["", 0.25], ["", 0.75]]]})


@case(EXAMPLES)
def regress(target: Target) -> None:
    """Regress answers one number for each example, from outputs of shape [B]."""
    checks.rest_json(ask(target, "regress", [{"x": 0.25}, {"x": 1.5}]), {"results": [0.25, 1.5]})


@case(EXAMPLES)
def regress_column(target: Target) -> None:
    """Regress takes outputs of shape [B, 1] too."""
    checks.rest_json(ask(target, "regress", [{"x": 0.25}, {"x": 1.5}], "regress_column"), {"results": [0.25, 1.5]})


@case(EXAMPLES)
def method_name_is_not_checked(target: Target) -> None:
    """TF2 exports, whose method_name is always "tensorflow/serving/predict", classify and regress all the same."""
    checks.rest_ok(ask(target, "classify", [{"x": 0.25}]))
    checks.rest_ok(ask(target, "regress", [{"x": 0.25}]))


@case(EXAMPLES)
def feature_lists(target: Target) -> None:
    """A feature is a value or a list of values."""
    checks.rest_json(ask(target, "regress", [{"x": [0.25], "id": [2]}, {"x": 0.5}]), {"results": [2.25, 0.5]})


@case(EXAMPLES, rows=[(3, 3.5), (True, 1.5), ([False], 0.5)])
def integers_and_bools(target: Target, value: Any, expected: float) -> None:
    """The JSON value {0} becomes an int64 feature."""
    checks.rest_json(ask(target, "regress", [{"x": 0.5, "id": value}]), {"results": [expected]})


@case(EXAMPLES)
def integer_for_a_float_feature(target: Target) -> None:
    """`1` is an int64 feature: fed to a float feature it fails in ParseExample."""
    checks.rest_error(ask(target, "regress", [{"x": 1}]), 400)


@case(EXAMPLES)
def decimal_for_an_int_feature(target: Target) -> None:
    """`1.0` is a float feature: fed to an int64 feature it fails in ParseExample."""
    checks.rest_error(ask(target, "regress", [{"x": 0.5, "id": 1.0}]), 400)


@case(EXAMPLES)
def bytes_features(target: Target) -> None:
    """Strings and base64 become bytes features."""
    answer = ask(target, "classify", [{"x": 0.5, "word": "plain"}, {"x": 0.5, "word": {"b64": "YWI="}}], "labels")
    checks.rest_json(answer, {"results": [[["plain", 0.0], ["other", 0.0]], [["ab", 0.0], ["other", 0.0]]]})


@case(EXAMPLES)
def context(target: Target) -> None:
    """The features of "context" are added to every example."""
    answer = ask(target, "regress", [{"x": 0.25}, {"x": 1.5}], context={"scale": 2.0})
    checks.rest_json(answer, {"results": [0.5, 3.0]})


@case(EXAMPLES)
def missing_feature(target: Target) -> None:
    """An example without a required feature: 400."""
    checks.rest_error(ask(target, "regress", [{"id": 1}]), 400, "x")


@case(
    EXAMPLES,
    rows=[
        ("classify", {}),
        ("regress", {}),
        ("classify", {"examples": []}),
        ("classify", {"examples": {"x": 1.0}}),
        ("classify", {"examples": [1]}),
        ("regress", {"examples": [{"x": None}]}),
        ("regress", {"examples": [{"x": [0.5, "a"]}]}),
        ("regress", {"examples": [{"x": {"y": 1}}]}),
        ("regress", {"examples": [{"x": 0.5}], "context": [1]}),
        ("classify", {"instances": [{"x": 0.5}]}),
    ],
)
def bad_body(target: Target, verb: str, body: dict[str, Any]) -> None:
    """A {0} body {1} is refused with 400."""
    checks.rest_error(target.post(f"{TOY}:{verb}", {"signature_name": verb, **body}), 400)


@case(EXAMPLES, rows=[("classify",), ("regress",)])
def broken_json(target: Target, verb: str) -> None:
    """A {0} body that is no JSON: 400 with a parse error."""
    checks.rest_error(target.post(f"{TOY}:{verb}", '{"examples": ['), 400, "JSON Parse error")


@case(
    EXAMPLES,
    rows=[
        ("classify", "wrong_input", "whose input is not named inputs"),
        ("classify", "flat_scores", "whose scores are not [B, C]"),
        ("classify", "no_scores", "without classes and scores"),
        ("regress", "regress_wide", "whose outputs are [B, 2]"),
        ("regress", "regress_int", "whose outputs are no floats"),
        ("regress", "classify", "without outputs"),
        ("classify", "nothing", "that there is not"),
    ],
)
def unfit_signature(target: Target, verb: str, signature: str, why: str) -> None:
    """{0} on the signature {1}, {2}: 400."""
    checks.rest_error(ask(target, verb, [{"x": 0.5}], signature), 400)


@case(EXAMPLES, rows=[("classify",), ("regress",)])
def unknown_model(target: Target, verb: str) -> None:
    """{0} on an unknown model: 404."""
    answer = target.post(f"/v1/models/nobody:{verb}", {"examples": [{"x": 0.5}]})
    checks.rest_error(answer, 404, "Servable not found for request: Latest(nobody)", exact=True)
