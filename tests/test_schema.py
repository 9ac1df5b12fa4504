from pathlib import Path

import pytest

from model.feature import Role, SchemaError
from model.schema import SCHEMAS_DIR, item_key, load_schema

EVENTS = """
feature { name: "user" type: INT annotation { tag: "id" } }
feature { name: "item" type: BYTES annotation { tag: "id" } }
feature { name: "time" type: INT annotation { tag: "timestamp" tag: "age" } }
feature { name: "clicked" type: INT annotation { tag: "label" } }
feature { name: "seconds" type: FLOAT annotation { tag: "cross" } }
feature { name: "tab" type: INT annotation { tag: "context" } }
"""
ITEMS = """
feature { name: "item" type: BYTES annotation { tag: "id" } }
feature { name: "author" type: INT annotation { tag: "inherent" tag: "wide" } }
feature { name: "topics" type: BYTES value_count { max: 0 } annotation { tag: "inherent" } }
feature { name: "duration" type: FLOAT annotation { tag: "inherent" } }
"""
USERS = """
feature { name: "user" type: INT annotation { tag: "id" } }
feature { name: "country" type: BYTES annotation { tag: "user" } }
"""


def write(folder: Path, events: str = EVENTS, items: str = ITEMS, users: str | None = USERS) -> Path:
    for name, text in (("events", events), ("items", items), ("users", users)):
        if text is not None:
            (folder / f"{name}.pbtxt").write_text(text)
    return folder


def error_of(folder: Path) -> str:
    with pytest.raises(SchemaError) as caught:
        load_schema(folder)
    return str(caught.value)


def test_roles_types_and_modifiers_are_read(tmp_path: Path) -> None:
    schema = load_schema(write(tmp_path))
    assert (schema.user_id.name, schema.item_id.name, schema.timestamp.name) == ("user", "item", "time")
    assert schema.user_key is not None and schema.age and schema.behaviour is None
    assert [(f.name, f.dtype, f.wide, f.multi_hot, f.numeric) for f in schema.inherent] == [
        ("author", "int64", True, False, False),
        ("topics", "string", False, True, False),
        ("duration", "float32", False, False, True),
    ]
    assert [f.name for f in schema.columns("events")] == ["user", "item", "time", "clicked", "seconds", "tab"]
    assert [f.name for f in schema.columns("items")] == ["item", "author", "topics", "duration"]
    assert [f.name for f in schema.columns("users")] == ["user", "country"]


def test_users_table_and_age_are_optional(tmp_path: Path) -> None:
    schema = load_schema(write(tmp_path, events=EVENTS.replace(' tag: "age"', ""), users=None))
    assert schema.user_key is None and schema.user == () and schema.columns("users") == () and not schema.age


def test_last_value_of_a_bytes_label_is_kept_last(tmp_path: Path) -> None:
    events = EVENTS.replace('"clicked" type: INT', '"clicked" type: BYTES string_domain { value: "no" value: "yes" }')
    assert load_schema(write(tmp_path, events=events)).label.values == ("no", "yes")


def test_every_schema_of_the_project_loads() -> None:
    names = {folder.parent.name for folder in SCHEMAS_DIR.glob("*/events.pbtxt")}
    assert names >= {"simulated", "fresh_feed", "un_votes", "kuairand"}
    for name in names:
        schema = load_schema(name)
        assert schema.name == name
        assert schema.behaviour is not None and schema.behaviour.role == Role.BEHAVIOUR


def tagged(text: str, feature: str, modifier: str) -> str:
    """The schema text with one more tag on a feature."""
    lines = [
        line.replace("annotation {", f'annotation {{ tag: "{modifier}"') if f'"{feature}"' in line else line
        for line in text.splitlines(keepends=True)
    ]
    return "".join(lines)


def test_completion_and_duration_are_optional(tmp_path: Path) -> None:
    schema = load_schema(write(tmp_path))
    assert schema.completion is None and schema.duration is None
    schema = load_schema(write(tmp_path, events=tagged(EVENTS, "seconds", "completion")))
    assert schema.completion is not None and schema.completion.name == "seconds" and schema.duration is None
    events, items = tagged(EVENTS, "seconds", "completion"), tagged(ITEMS, "duration", "duration")
    schema = load_schema(write(tmp_path, events, items))
    assert schema.duration is not None and schema.duration.name == "duration"
    assert schema.completion in schema.cross and schema.duration in schema.inherent


def test_what_the_projects_schemas_group_by() -> None:
    found = {}
    for name in ("simulated", "un_votes", "kuairand"):
        schema = load_schema(name)
        found[name] = [feature and feature.name for feature in (schema.completion, schema.duration)]
    assert found == {
        "simulated": ["completion", None],
        "un_votes": ["stance", None],
        "kuairand": ["play_time_ms", "video_duration"],
    }


@pytest.mark.parametrize(
    ("completion", "duration", "file", "expected"),
    [
        ("tab", None, "events", ["'tab'", "modifier 'completion'", "'cross'", "'context'"]),
        ("seconds", "topics", "items", ["'topics'", "a duration is FLOAT", "string"]),
        (None, "duration", "items", ["'duration'", "needs a 'completion' in events.pbtxt", "none"]),
        ("stars", "duration", "events", ["'stars'", "the time played", "FLOAT", "int64"]),
    ],
)
def test_a_wrong_completion_or_duration(
    tmp_path: Path, completion: str | None, duration: str | None, file: str, expected: list[str]
) -> None:
    events = EVENTS + 'feature { name: "stars" type: INT annotation { tag: "cross" } }\n'
    items = ITEMS
    if completion is not None:
        events = tagged(events, completion, "completion")
    if duration is not None:
        items = tagged(items, duration, "duration")
    message = error_of(write(tmp_path, events, items))
    assert f"{file}.pbtxt" in message
    for part in expected:
        assert part in message


def test_two_completions_or_durations_contradict(tmp_path: Path) -> None:
    events = EVENTS + 'feature { name: "stars" type: INT annotation { tag: "cross" tag: "completion" } }\n'
    message = error_of(write(tmp_path, tagged(events, "seconds", "completion")))
    assert "events.pbtxt" in message and "at most one" in message and "['seconds', 'stars']" in message
    items = ITEMS + 'feature { name: "seconds_long" type: FLOAT annotation { tag: "inherent" tag: "duration" } }\n'
    message = error_of(write(tmp_path, EVENTS, tagged(items, "duration", "duration")))
    assert "items.pbtxt" in message and "at most one" in message


def test_the_current_folder_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path))
    assert load_schema(".").name == tmp_path.name


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("events", 'tag: "context"', 'tag: "contxt"', ["'tab'", "unknown role 'contxt'", "'context'"]),
        ("events", 'annotation { tag: "context" }', "", ["'tab'", "exactly one role", "got none"]),
        ("events", 'tag: "context"', 'tag: "context" tag: "cross"', ["'tab'", "'context' and 'cross'"]),
        ("events", 'tag: "context"', 'tag: "context" tag: "context"', ["'tab'", "exactly one role"]),
        ("events", 'tag: "context"', 'tag: "inherent"', ["'tab'", "'inherent' does not belong in events"]),
        ("items", 'type: FLOAT annotation { tag: "inherent" }', 'type: FLOAT annotation { tag: "cross" }',
         ["'duration'", "'cross' does not belong in items", "'inherent'"]),
        ("users", 'tag: "user"', 'tag: "label"', ["'country'", "does not belong in users"]),
        ("events", 'tag: "context"', 'tag: "context" tag: "wide"', ["'tab'", "modifier 'wide'", "'inherent'"]),
        ("items", 'tag: "wide"', 'tag: "age"', ["'author'", "modifier 'age'", "'timestamp'"]),
        ("events", '"tab" type: INT', '"tab"', ["'tab'", "type is missing", "INT, BYTES or FLOAT"]),
        ("events", '"user" type: INT', '"user" type: FLOAT', ["'user'", "INT or BYTES", "FLOAT"]),
        ("events", 'tag: "context"', 'tag: "label"', ["exactly one feature with role 'label'", "clicked", "tab"]),
        ("events", 'tag: "label"', 'tag: "context"', ["exactly one feature with role 'label'", "none"]),
        ("events", 'tag: "timestamp" tag: "age"', 'tag: "context"', ["exactly one", "'timestamp'", "none"]),
        ("events", '"time" type: INT', '"time" type: BYTES', ["'time'", "INT (ms)", "string"]),
        ("events", '"clicked" type: INT', '"clicked" type: BYTES', ["'clicked'", "string_domain", "[]"]),
        ("events", '"item" type: BYTES', '"item" type: INT', ["'item'", "int64", "string"]),
        ("events", '"item" type', '"video" type', ["two features with role 'id'", "'item'", "'video'"]),
        ("events", '"tab" type: INT annotation { tag: "context" }', '"tab" type: INT annotation { tag: "id" }',
         ["two features with role 'id'", "'tab'"]),
        ("users", '"user" type: INT', '"user" type: BYTES', ["'user' (string)", "'user' (int64)"]),
        ("users", '"user" type', '"member" type', ["'member'", "expected 'user'"]),
        ("users", 'tag: "id"', 'tag: "user"', ["exactly one feature with role 'id'", "none"]),
        ("items", 'tag: "id"', 'tag: "inherent"', ["exactly one feature with role 'id'", "none"]),
        ("events", '"tab"', '"seconds"', ["'seconds' is declared 2 times"]),
        ("events", '"tab"', '"label"', ["'label'", "reserved"]),
        ("events", '"seconds"', '"age"', ["'age'", "reserved"]),
        ("events", '"seconds"', '"cluster_size"', ["'cluster_size'", "reserved"]),
        ("items", '"author"', '"frequency"', ["'frequency'", "reserved"]),
        ("items", "type: FLOAT", "type: FLOAT value_count { max: 3 }", ["'duration'", "multi-hot"]),
        ("events", "type: FLOAT", "type: INT value_count { max: 0 }", ["'seconds'", "multi-hot"]),
        ("events", 'type: INT annotation { tag: "context" }', 'type: BYTES annotation { tag: "behaviour" }',
         ["'tab'", "behaviour", "INT (0 or 1)", "string"]),
        ("events", "feature {", "feature [", ["text proto"]),
    ],
)  # fmt: skip
def test_error_names_file_feature_and_expectation(
    tmp_path: Path, file: str, old: str, new: str, expected: list[str]
) -> None:
    texts = {"events": EVENTS, "items": ITEMS, "users": USERS}
    assert old in texts[file]
    texts[file] = texts[file].replace(old, new, 1)
    message = error_of(write(tmp_path, **texts))
    assert f"{file}.pbtxt" in message
    for part in expected:
        assert part in message


def test_two_behaviour_flags_contradict(tmp_path: Path) -> None:
    flag = 'feature {{ name: "{}" type: INT annotation {{ tag: "behaviour" }} }}\n'
    message = error_of(write(tmp_path, events=EVENTS + flag.format("a") + flag.format("b")))
    assert "events.pbtxt" in message and "at most one" in message and "['a', 'b']" in message


@pytest.mark.parametrize("file", ["events", "items"])
def test_missing_file(tmp_path: Path, file: str) -> None:
    write(tmp_path)
    (tmp_path / f"{file}.pbtxt").unlink()
    message = error_of(tmp_path)
    assert f"{file}.pbtxt: missing" in message


def test_unknown_folder_lists_the_known_ones() -> None:
    with pytest.raises(SchemaError, match=r"'nonesuch'.*kuairand.*simulated.*un_votes"):
        load_schema("nonesuch")


def test_item_key_of_text_is_63_bits_of_blake2b() -> None:
    assert item_key(-7) == -7
    # First 8 bytes of BLAKE2b("abc", 8 bytes), little endian, shifted right by one.
    assert item_key("abc") == int.from_bytes(bytes.fromhex("d8bb14d833d59559"), "little") >> 1
