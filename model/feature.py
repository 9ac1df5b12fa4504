"""One column of a data set: what it is for, and how a schema folder declares it."""

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import Literal

from tensorflow_metadata.proto.v0 import schema_pb2

from model.errors import UserError

AGE = "age"
"""Name of the built-in cross feature: target time minus behaviour time."""

Table = Literal["events", "items", "users"]
Dtype = Literal["int64", "string", "float32"]
_DTYPES: dict[int, Dtype] = {schema_pb2.INT: "int64", schema_pb2.BYTES: "string", schema_pb2.FLOAT: "float32"}


class Role(StrEnum):
    """What a column is for; each feature of a schema carries exactly one of these as an annotation tag."""

    ID = "id"
    INHERENT = "inherent"
    CROSS = "cross"
    USER = "user"
    CONTEXT = "context"
    LABEL = "label"
    TIMESTAMP = "timestamp"
    BEHAVIOUR = "behaviour"


_ROLES_OF_TABLE: dict[Table, frozenset[Role]] = {
    "events": frozenset({Role.ID, Role.CROSS, Role.CONTEXT, Role.LABEL, Role.TIMESTAMP, Role.BEHAVIOUR}),
    "items": frozenset({Role.ID, Role.INHERENT}),
    "users": frozenset({Role.ID, Role.USER}),
}
_MODIFIERS: dict[str, Role] = {
    "wide": Role.INHERENT,
    "age": Role.TIMESTAMP,
    "completion": Role.CROSS,
    "duration": Role.INHERENT,
}
_RESERVED = frozenset(
    {
        "item_id",
        "timestamp",
        "length",
        "label",
        "weight",
        "history_end",
        "frequency",
        "cluster_size",
        "cluster_group",
        AGE,
    }
)


class SchemaError(UserError):
    """A schema folder is wrong; the message names file, feature and what was expected."""


@dataclasses.dataclass(frozen=True)
class Feature:
    """One declared column.

    Attributes:
        name: Column name in the raw table.
        role: Its role.
        dtype: `int64`, `string` or `float32`.
        multi_hot: Whether a row holds a list of values.
        values: The string domain, in order, or empty.
        modifiers: The annotation tags beside the role: `wide`, `age`, `completion`, `duration`.
    """

    name: str
    role: Role
    dtype: Dtype
    multi_hot: bool = False
    values: tuple[str, ...] = ()
    modifiers: frozenset[str] = frozenset()

    @property
    def numeric(self) -> bool:
        """Whether the feature is bucketised by quantiles instead of looked up in a vocabulary."""
        return self.dtype == "float32"

    @property
    def wide(self) -> bool:
        """Whether the feature is embedded with the id width."""
        return "wide" in self.modifiers


def read_feature(file: Path, table: Table, proto: schema_pb2.Feature) -> Feature:
    """A column as declared.

    Args:
        file: The declaration's, named in errors.
        table: The raw table that it describes.
        proto: The declaration.

    Raises:
        SchemaError: On an unknown, missing or contradictory role, or a type that its role does not allow.
    """
    where = f"{file}: feature {proto.name!r}"
    tags = list(proto.annotation.tag)
    known = {role.value for role in Role}
    unknown = [tag for tag in tags if tag not in known and tag not in _MODIFIERS]
    if unknown:
        raise SchemaError(
            f"{where}: unknown role {unknown[0]!r}; expected one of {sorted(known)} "
            f"(and optionally a modifier of {sorted(_MODIFIERS)})"
        )
    roles = [Role(tag) for tag in tags if tag in known]
    if len(roles) != 1:
        got = "none" if not roles else " and ".join(repr(r.value) for r in roles)
        raise SchemaError(f"{where}: expected exactly one role as annotation tag, got {got}")
    role = roles[0]
    if role not in _ROLES_OF_TABLE[table]:
        allowed = sorted(r.value for r in _ROLES_OF_TABLE[table])
        raise SchemaError(f"{where}: role {role.value!r} does not belong in {table}; expected one of {allowed}")
    modifiers = frozenset(tags) - known
    for modifier in sorted(modifiers):
        needed = _MODIFIERS[modifier]
        if needed != role:
            raise SchemaError(f"{where}: modifier {modifier!r} goes with role {needed.value!r}, got {role.value!r}")
    if proto.type not in _DTYPES:
        raise SchemaError(f"{where}: type is missing; expected INT, BYTES or FLOAT")
    dtype = _DTYPES[proto.type]
    if role == Role.ID and dtype == "float32":
        raise SchemaError(f"{where}: an id is INT or BYTES, got FLOAT")
    if role == Role.BEHAVIOUR and dtype != "int64":
        raise SchemaError(f"{where}: a behaviour flag is INT (0 or 1), got {dtype}")
    multi_hot = proto.HasField("value_count") and proto.value_count.max != 1
    if multi_hot and (role != Role.INHERENT or dtype == "float32"):
        raise SchemaError(f"{where}: only a categorical 'inherent' feature may be multi-hot (value_count)")
    if role in (Role.INHERENT, Role.CROSS, Role.CONTEXT) and proto.name in _RESERVED:
        raise SchemaError(f"{where}: the name is reserved; rename the column")
    values = tuple(proto.string_domain.value) if proto.HasField("string_domain") else ()
    return Feature(proto.name, role, dtype, multi_hot, values, modifiers)
