"""TF Metadata schemas of the training and catalog Examples, derived from a data set's schema."""

import math

from tensorflow_metadata.proto.v0 import schema_pb2

from model.feature import Dtype, Feature
from model.schema import DatasetSchema

_TYPES: dict[Dtype, int] = {"int64": schema_pb2.INT, "string": schema_pb2.BYTES, "float32": schema_pb2.FLOAT}


def user_example_schema(schema: DatasetSchema) -> schema_pb2.Schema:
    """The schema of the per-user training Examples.

    `history/...` and `target/...` are lists of any length; a user feature has one value or none. The presence demanded
    here is what the model cannot do without, so that data validation reports its absence and nothing that is harmless.

    Args:
        schema: The data set's columns.
    """
    result = schema_pb2.Schema()
    _add(result, "user_id", "string", required=True, most=1)
    for name in ("history/item_id", "history/timestamp"):
        _add(result, name, "int64")
    for name in ("target/item_id", "target/timestamp", "target/history_end"):
        _add(result, name, "int64", required=True)
    label = _add(result, "target/label", "float32", required=True)
    label.float_domain.CopyFrom(schema_pb2.FloatDomain(min=0.0, max=1.0, disallow_nan=True))
    for feature in schema.cross:
        _add_feature(result, f"history/{feature.name}", feature)
    for feature in schema.context:
        _add_feature(result, f"target/{feature.name}", feature)
    for feature in schema.user:
        _add_feature(result, f"user/{feature.name}", feature, most=1)
    return result


def catalog_example_schema(schema: DatasetSchema) -> schema_pb2.Schema:
    """The schema of the catalog Examples, one per item.

    Args:
        schema: The data set's columns.
    """
    result = schema_pb2.Schema()
    _add(result, "item_id", "int64", required=True, most=1)
    _add(result, "frequency", "int64", required=True, most=1)
    for feature in schema.inherent:
        _add_feature(result, feature.name, feature, most=math.inf if feature.multi_hot else 1)
    return result


def _add_feature(result: schema_pb2.Schema, name: str, feature: Feature, most: float = math.inf) -> None:
    proto = _add(result, name, feature.dtype, most=most)
    if feature.values:
        # The empty string stands for a missing value.
        proto.string_domain.value.extend(["", *feature.values])


def _add(
    result: schema_pb2.Schema, name: str, dtype: Dtype, required: bool = False, most: float = math.inf
) -> schema_pb2.Feature:
    proto = result.feature.add(name=name, type=_TYPES[dtype])
    if most != math.inf:
        proto.value_count.max = int(most)
    if required:
        proto.value_count.min = 1
        proto.presence.min_fraction = 1.0
    return proto
