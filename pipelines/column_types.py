"""Which Arrow types of a raw column fit a declared feature."""

import pyarrow as pa

from model.feature import Feature, Role


def fits(found: pa.DataType, feature: Feature) -> bool:
    """Whether a column of this Arrow type can hold the feature."""
    if pa.types.is_null(found):
        return True
    if feature.multi_hot and (pa.types.is_list(found) or pa.types.is_large_list(found)):
        return _fits_scalar(found.value_type, feature)
    if feature.multi_hot:
        return _is_text(found)
    return _fits_scalar(found, feature)


def _fits_scalar(found: pa.DataType, feature: Feature) -> bool:
    types = pa.types
    if feature.dtype == "string":
        return _is_text(found)
    if feature.dtype == "float32":
        return bool(types.is_floating(found) or types.is_integer(found) or types.is_boolean(found))
    if feature.role == Role.TIMESTAMP and types.is_timestamp(found):
        return True
    return bool(types.is_integer(found) or (types.is_boolean(found) and feature.role != Role.ID))


def _is_text(found: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(found):
        return _is_text(found.value_type)
    return bool(
        types.is_string(found) or types.is_large_string(found) or types.is_binary(found) or types.is_large_binary(found)
    )


def expected_type(feature: Feature) -> str:
    """The types that fit a feature, in words."""
    kind = {"int64": "integers", "float32": "numbers", "string": "strings"}[feature.dtype]
    if feature.role == Role.TIMESTAMP:
        kind = "integers (milliseconds) or timestamps"
    return f"lists of {kind}, or strings joined by '|'" if feature.multi_hot else kind
