"""Reads a schema folder: the single place where a data set's columns and their roles are declared."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from model.feature import Feature, Role, SchemaError, Table, read_feature

SCHEMAS_DIR = Path(__file__).resolve().parent.parent / "schemas"


@dataclasses.dataclass(frozen=True)
class DatasetSchema:
    """The columns of a data set, by role.

    Attributes:
        name: The schema folder's name.
        folder: The schema folder.
        user_id, item_id, timestamp, label: The columns of `events` with these roles.
        behaviour: The column telling which events enter the history, or None (then label == 1 does).
        user_key: The id of the users table, or None where there is no users table.
        inherent: Features of the items table, in file order.
        cross: Cross features of the events table, in file order; without the built-in `age`.
        context: Context features of the events table.
        user: Features of the users table.
        age: Whether the built-in cross feature `age` is used.
        completion: The cross feature by which `twin_v2` groups behaviours, or None (then all are one group).
        duration: The inherent feature that `completion` is divided by, or None (then it is a ratio itself).
    """

    name: str
    folder: Path
    user_id: Feature
    item_id: Feature
    timestamp: Feature
    label: Feature
    behaviour: Feature | None
    user_key: Feature | None
    inherent: tuple[Feature, ...]
    cross: tuple[Feature, ...]
    context: tuple[Feature, ...]
    user: tuple[Feature, ...]
    age: bool
    completion: Feature | None = None
    duration: Feature | None = None

    @property
    def config_file(self) -> Path | None:
        """`config.yaml` of the schema folder, the configuration that suits the data set; None where there is none."""
        file = self.folder / "config.yaml"
        return file if file.is_file() else None

    def columns(self, table: Table) -> tuple[Feature, ...]:
        """The columns a raw table must have."""
        if table == "items":
            return (self.item_id, *self.inherent)
        if table == "users":
            return () if self.user_key is None else (self.user_key, *self.user)
        behaviour = () if self.behaviour is None else (self.behaviour,)
        head = (self.user_id, self.item_id, self.timestamp, self.label, *behaviour)
        return (*head, *self.cross, *self.context)


def item_key(item_id: int | str) -> int:
    """The int64 key of an item: the id itself if it is an integer, else 63 bits of its BLAKE2b hash."""
    if isinstance(item_id, int):
        return item_id
    digest = hashlib.blake2b(item_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def load_schema(folder: Path | str) -> DatasetSchema:
    """Reads `events.pbtxt`, `items.pbtxt` and, where present, `users.pbtxt` of a schema folder.

    Args:
        folder: A folder, or the bare name of one under `schemas/`.

    Raises:
        SchemaError: On a missing file, text that does not parse, or an unknown, missing or contradictory role.
    """
    path = Path(folder)
    if not path.is_dir() and len(path.parts) == 1:
        path = SCHEMAS_DIR / path
    if not path.is_dir():
        known = sorted(p.name for p in SCHEMAS_DIR.iterdir() if (p / "events.pbtxt").is_file())
        raise SchemaError(f"no schema folder {str(folder)!r}; expected a path, or one of: {', '.join(known)}")
    items = _read_table(path, "items")
    events = _read_table(path, "events")
    users = _read_table(path, "users") if (path / "users.pbtxt").exists() else []
    return _assemble(path, events, items, users)


def _assemble(
    path: Path, events: Sequence[Feature], items: Sequence[Feature], users: Sequence[Feature]
) -> DatasetSchema:
    item_id = _only(items, Role.ID, path / "items.pbtxt")
    user_key = _only(users, Role.ID, path / "users.pbtxt") if users else None
    events_file = path / "events.pbtxt"
    ids = _with_role(events, Role.ID)
    user_ids = [f for f in ids if f.name != item_id.name]
    if len(ids) != 2 or len(user_ids) != 1:
        raise SchemaError(
            f"{events_file}: expected two features with role 'id', one of them named {item_id.name!r} as in "
            f"items.pbtxt, got {[f.name for f in ids]}"
        )
    user_id = user_ids[0]
    event_item_id = next(f for f in ids if f.name == item_id.name)
    if event_item_id.dtype != item_id.dtype:
        raise SchemaError(
            f"{events_file}: feature {item_id.name!r} is {event_item_id.dtype} but {item_id.dtype} in items.pbtxt"
        )
    if user_key is not None and (user_key.name, user_key.dtype) != (user_id.name, user_id.dtype):
        raise SchemaError(
            f"{path / 'users.pbtxt'}: the id is {user_key.name!r} ({user_key.dtype}); "
            f"expected {user_id.name!r} ({user_id.dtype}) as in events.pbtxt"
        )
    timestamp = _only(events, Role.TIMESTAMP, events_file)
    if timestamp.dtype != "int64":
        raise SchemaError(f"{events_file}: feature {timestamp.name!r}: a timestamp is INT (ms), got {timestamp.dtype}")
    label = _only(events, Role.LABEL, events_file)
    if label.dtype == "string" and len(label.values) < 2:
        raise SchemaError(
            f"{events_file}: feature {label.name!r}: a BYTES label needs a string_domain of two or more values, "
            f"the last one positive, got {list(label.values)}"
        )
    behaviours = _with_role(events, Role.BEHAVIOUR)
    if len(behaviours) > 1:
        names = [f.name for f in behaviours]
        raise SchemaError(f"{events_file}: expected at most one feature with role 'behaviour', got {names}")
    completion = _modified(events, events_file, "completion")
    duration = _modified(items, path / "items.pbtxt", "duration")
    _check_duration(path, completion, duration)
    return DatasetSchema(
        name=path.resolve().name,
        folder=path,
        user_id=user_id,
        item_id=item_id,
        timestamp=timestamp,
        label=label,
        behaviour=behaviours[0] if behaviours else None,
        user_key=user_key,
        inherent=tuple(_with_role(items, Role.INHERENT)),
        cross=tuple(_with_role(events, Role.CROSS)),
        context=tuple(_with_role(events, Role.CONTEXT)),
        user=tuple(_with_role(users, Role.USER)),
        age="age" in timestamp.modifiers,
        completion=completion,
        duration=duration,
    )


def _read_proto(file: Path) -> schema_pb2.Schema:
    if not file.is_file():
        raise SchemaError(
            f"{file}: missing; a schema folder holds events.pbtxt, items.pbtxt and optionally users.pbtxt"
        )
    try:
        return text_format.Parse(file.read_text(), schema_pb2.Schema())
    except text_format.ParseError as error:
        raise SchemaError(f"{file}: not a tensorflow.metadata.v0.Schema text proto: {error}") from None


def _modified(features: Sequence[Feature], file: Path, modifier: str) -> Feature | None:
    found = [f for f in features if modifier in f.modifiers]
    if len(found) > 1:
        names = [f.name for f in found]
        raise SchemaError(f"{file}: expected at most one feature with modifier {modifier!r}, got {names}")
    return found[0] if found else None


def _check_duration(path: Path, completion: Feature | None, duration: Feature | None) -> None:
    if duration is None:
        return
    where = f"{path / 'items.pbtxt'}: feature {duration.name!r}"
    if not duration.numeric:
        raise SchemaError(f"{where}: a duration is FLOAT, got {duration.dtype}")
    if completion is None:
        raise SchemaError(f"{where}: modifier 'duration' needs a 'completion' in events.pbtxt, got none")
    if not completion.numeric:
        raise SchemaError(
            f"{path / 'events.pbtxt'}: feature {completion.name!r}: the time played, which 'duration' divides, is "
            f"FLOAT, got {completion.dtype}"
        )


def _read_table(folder: Path, table: Table) -> list[Feature]:
    file = folder / f"{table}.pbtxt"
    features = [read_feature(file, table, proto) for proto in _read_proto(file).feature]
    names = [f.name for f in features]
    for name in names:
        if names.count(name) > 1:
            raise SchemaError(f"{file}: feature {name!r} is declared {names.count(name)} times")
    return features


def _with_role(features: Sequence[Feature], role: Role) -> list[Feature]:
    return [f for f in features if f.role == role]


def _only(features: Sequence[Feature], role: Role, file: Path) -> Feature:
    found = _with_role(features, role)
    if len(found) != 1:
        got = [f.name for f in found] or "none"
        raise SchemaError(f"{file}: expected exactly one feature with role {role.value!r}, got {got}")
    return found[0]
