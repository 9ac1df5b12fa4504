"""REST: predict bodies in row and columnar form."""

from typing import Any

from serving.conformance import checks
from serving.conformance.case import Section, case
from serving.conformance.target import Target

ROW = Section.REST_ROW
COLUMNAR = Section.REST_COLUMNAR
PREDICT = "/v1/models/toy:predict"
V1 = "/v1/models/toy/versions/1:predict"


def predict(target: Target, signature: str, **body: Any) -> Any:
    """POSTs a predict body to the toy model."""
    return target.post(PREDICT, {"signature_name": signature, **body})


@case(ROW)
def one_output(target: Target) -> None:
    """Row form, one output: "predictions" is the list of its values."""
    checks.rest_json(predict(target, "single", instances=[[1, 2], [3, 4]]), {"predictions": [[3.0, 6.0], [9.0, 12.0]]})


@case(ROW)
def scalar_rows(target: Target) -> None:
    """Row form: an instance may be a plain value."""
    checks.rest_json(predict(target, "single", instances=[1, 2.5]), {"predictions": [3.0, 7.5]})


@case(ROW)
def several_outputs(target: Target) -> None:
    """Row form, several inputs and outputs: objects in, objects out; serving_default without a signature_name."""
    body = {"instances": [{"x": [1, 2], "n": 3}, {"x": [0, 1], "n": -4}]}
    expected = [{"y": [2.0, 4.0], "twice": 6}, {"y": [0.0, 2.0], "twice": -8}]
    checks.rest_json(target.post(V1, body), {"predictions": expected})


@case(ROW)
def objects_for_one_input(target: Target) -> None:
    """Row form: objects serve a signature of one input too."""
    checks.rest_json(predict(target, "single", instances=[{"x": 1}, {"x": 2}]), {"predictions": [3.0, 6.0]})


@case(ROW)
def other_keys(target: Target) -> None:
    """Keys of the body that the server does not know are ignored."""
    checks.rest_json(predict(target, "single", instances=[1], comment={"a": 1}), {"predictions": [3.0]})


@case(ROW)
def empty_signature_name(target: Target) -> None:
    """An empty signature_name means serving_default."""
    body = {"signature_name": "", "instances": [{"x": [1, 2], "n": 3}]}
    checks.rest_json(target.post(V1, body), {"predictions": [{"y": [2.0, 4.0], "twice": 6}]})


@case(ROW)
def shape_is_not_checked(target: Target) -> None:
    """Input shapes are not held against the signature: [1, 3] runs where it says [None, 2]."""
    body = {"instances": [{"x": [1, 2, 3], "n": 1}]}
    checks.rest_json(target.post(V1, body), {"predictions": [{"y": [2.0, 4.0, 6.0], "twice": 2}]})


@case(ROW)
def output_without_batch(target: Target) -> None:
    """Row form: a scalar output cannot be split into rows: 400."""
    answer = predict(target, "total", instances=[1, 2])
    checks.rest_error(answer, 400, "Tensor name: sum has no shape information ")


@case(ROW)
def uneven_batches(target: Target) -> None:
    """Row form: outputs of unequal first dimension: 400."""
    checks.rest_error(predict(target, "uneven", instances=[1, 2]), 400, "has inconsistent batch size")


@case(
    ROW,
    rows=[
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": 1}, "Excepting 'instances' to be an list/array"),
        ({"instances": {"x": [1, 2]}}, "Excepting 'instances' to be an list/array"),
        ({"instances": [1]}, "instances is a plain list, but expecting list of objects as multiple input tensors"),
        ({"instances": [{"x": [1, 2]}]}, "must only have keys"),
        ({"instances": [{"x": [1, 2], "n": 1, "z": 1}]}, "does not have named input: z"),
        ({"instances": [{"x": [1], "n": 1}, {"x": [1, 2], "n": 1}]}, "Failed to process element: 1 key: x"),
        ({"instances": [{"x": [1, 2], "n": 1}, {"x": [[1, 2]], "n": 1}]}, "Failed to process element: 1 key: x"),
        ({"instances": [{"x": [1, 2], "n": 1}, 5]}, "item 1"),
    ],
)
def bad_rows(target: Target, body: Any, text: str) -> None:
    """Row form: {0} is refused: {1}."""
    checks.rest_error(target.post(PREDICT, body), 400, text)


@case(ROW)
def mixed_rows(target: Target) -> None:
    """Row form: plain values and objects may not be mixed."""
    checks.rest_error(predict(target, "single", instances=[5, {"x": 1}]), 400, "item 1")


@case(ROW, rows=[([[1, 2], [3]],), ([[1], 2],), ([1, [2]],), ([[[1]], [[1, 2]]],)])
def ragged_rows(target: Target, rows: Any) -> None:
    """Row form: all instances must have one shape; {0} is refused."""
    checks.rest_error(predict(target, "single", instances=rows), 400)


@case(COLUMNAR)
def bare_tensor(target: Target) -> None:
    """Columnar form, one input and output: the bare tensor in, the bare tensor out."""
    checks.rest_json(predict(target, "single", inputs=[[1, 2], [3, 4]]), {"outputs": [[3.0, 6.0], [9.0, 12.0]]})


@case(COLUMNAR)
def bare_scalar(target: Target) -> None:
    """Columnar form: a scalar may go in and come out."""
    checks.rest_json(predict(target, "single", inputs=4), {"outputs": 12.0})


@case(COLUMNAR)
def named_tensors(target: Target) -> None:
    """Columnar form, several inputs and outputs: objects of tensors."""
    body = {"inputs": {"x": [[1, 2]], "n": [3]}}
    checks.rest_json(target.post(V1, body), {"outputs": {"y": [[2.0, 4.0]], "twice": [6]}})


@case(COLUMNAR)
def named_single_tensor(target: Target) -> None:
    """Columnar form: an object serves a signature of one input too."""
    checks.rest_json(predict(target, "single", inputs={"x": [1, 2]}), {"outputs": [3.0, 6.0]})


@case(COLUMNAR)
def any_output_shapes(target: Target) -> None:
    """Columnar form: outputs may have any shapes, scalars included."""
    checks.rest_json(predict(target, "total", inputs=[1, 2]), {"outputs": {"sum": 3.0, "y": [1.0, 2.0]}})
    answer = predict(target, "uneven", inputs=[1])
    checks.rest_json(answer, {"outputs": {"y": [1.0], "z": [1.0, 1.0]}})


@case(COLUMNAR)
def empty_tensor(target: Target) -> None:
    """Columnar form: an empty tensor goes in and comes out."""
    checks.rest_json(predict(target, "single", inputs=[]), {"outputs": []})


@case(COLUMNAR)
def extra_names(target: Target) -> None:
    """Columnar form: names that the signature does not have are ignored."""
    body = {"inputs": {"x": [[1, 2]], "n": [3], "z": "whatever"}}
    checks.rest_json(target.post(V1, body), {"outputs": {"y": [[2.0, 4.0]], "twice": [6]}})


@case(COLUMNAR)
def missing_name(target: Target) -> None:
    """Columnar form: a missing input: 400 with its name."""
    checks.rest_error(
        target.post(PREDICT, {"inputs": {"x": [[1, 2]]}}), 400, "Missing named input: n in 'inputs' object."
    )


@case(COLUMNAR)
def no_default_inputs(target: Target) -> None:
    """REST fills in no default inputs, where gRPC does."""
    answer = predict(target, "scaled", inputs={"x": [[1, 2]]})
    checks.rest_error(answer, 400, "Missing named input: scale in 'inputs' object.")


@case(COLUMNAR)
def plain_value_for_many(target: Target) -> None:
    """Columnar form: a bare tensor for a signature of two inputs: 400."""
    text = "inputs is a plain value/list, but expecting an object as multiple input tensors"
    checks.rest_error(target.post(PREDICT, {"inputs": [1]}), 400, text)


@case(COLUMNAR, rows=[([[1, 2], [3]],), ([[1], 2],), ([1, [2]],)])
def ragged_tensor(target: Target, value: Any) -> None:
    """Columnar form: a ragged tensor, {0}, is refused."""
    checks.rest_error(predict(target, "single", inputs=value), 400)


@case(
    ROW,
    rows=[
        ("", "JSON Parse error: The document is empty"),
        ('{"a": 1} x', "JSON Parse error: The document root must not be followed by other values. at offset: 9"),
        ('{"a": 1e999}', "JSON Parse error: Number too big to be stored in double. at offset: "),
        (f'{{"a": {"1" * 299}e99}}', "JSON Parse error: Number too big to be stored in double. at offset: "),
        ('{"instances": [1, 2}', "JSON Parse error: Missing a comma or ] after an array element. at offset: 19"),
        ("{'instances': [1]}", "JSON Parse error: Missing a name for object member. at offset: 1"),
        ('{"instances": nope}', "JSON Parse error: Invalid value. at offset: "),
        ("[1]", "Is not object"),
        ("5", "Is not object"),
        ("{}", "'inputs' or 'instances'"),
        ('{"instances": [1], "inputs": [1]}', "expecting only one of 'inputs' or 'instances' keys to exist"),
        ('{"signature_name": 5, "inputs": [1]}', "'signature_name' key must be a string value."),
    ],
)
def bad_body(target: Target, body: str, text: str) -> None:
    """The body {0!r} is refused: {1}."""
    checks.rest_error(target.post(PREDICT, body), 400, text)
