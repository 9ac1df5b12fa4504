from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from model.errors import UserError
from model.schema import item_key
from pipelines.preprocess.sequences import build_sequences, drop_duplicates
from pipelines.preprocess.split_config import SplitConfig
from tests.preprocess_support import (
    EVENTS,
    ITEM_ROWS,
    ITEMS,
    PLAIN_EVENTS,
    SPLIT,
    USER_ROWS,
    event_rows,
    plain_events,
    read_all,
    read_examples,
    read_letters,
    read_report,
    run,
    write_csv,
    write_data,
    write_schema,
)

# (user, item, time, click, seen), out of time order on purpose
LOG = event_rows(
    (10, 2, 150, 1, 1),  # row 1: train target, behaviour
    (10, 1, 50, 0, 1),  # row 2: history only
    (10, 3, 60, 1, 0),  # row 3: unused
    (10, 3, 150, 0, 0),  # row 4: train target, same time as row 1, no behaviour
    (10, 1, 199, 1, 1),  # row 5: last millisecond of train
    (10, 2, 200, 0, 1),  # row 6: first of eval
    (11, 3, 399, 1, 1),  # row 7: test, the user's only event
    (10, 1, 350, 0, 1),  # row 8: test
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    run(write_data(root / "data", LOG), write_schema(root / "schema"), root / "out")
    return root / "out"


def test_hand_computed_train_example(outputs: Path) -> None:
    (example,) = read_examples(outputs / "examples" / "Split-train")
    assert example == {
        "user_id": [b"10"],
        "user/age": [30],
        "user/town": [b"rome"],
        "history/item_id": [1, 2, 1],
        "history/timestamp": [50, 150, 199],
        "history/play": [0.5, 0.0, 2.0],
        "history/stars": [1, 0, 4],
        "history/mood": [b"m1", b"m0", b"m4"],
        "target/item_id": [2, 3, 1],
        "target/timestamp": [150, 150, 199],
        "target/label": [1.0, 0.0, 1.0],
        "target/page": [0, 0, 1],
        "target/history_end": [1, 1, 2],
    }


def test_hand_computed_eval_and_test_examples(outputs: Path) -> None:
    (evaluation,) = read_examples(outputs / "examples" / "Split-eval")
    assert evaluation["history/timestamp"] == [50, 150, 199, 200]
    assert (evaluation["target/item_id"], evaluation["target/history_end"]) == ([2], [3])
    first, lonely = read_examples(outputs / "examples" / "Split-test")
    assert (first["target/timestamp"], first["target/history_end"]) == ([350], [4])
    assert (lonely["user_id"], lonely["target/history_end"], lonely["target/label"]) == ([b"11"], [0], [1.0])
    assert lonely["history/item_id"] == [3], "the target's own behaviour is stored, and not visible to it"
    assert not lonely["user/age"], "a missing user feature has no value"


def test_catalog_counts_train_lookups(outputs: Path) -> None:
    catalog = read_examples(outputs / "catalog" / "Split-catalog")
    # Before the training range 1; targets 2, 3, 1, whether they became behaviours or not.
    assert [(row["item_id"], row["frequency"]) for row in catalog] == [([1], [2]), ([2], [1]), ([3], [1])]
    assert [row["topics"] for row in catalog] == [[b"a", b"b"], [], [b"c"]]
    assert [row["author"] for row in catalog] == [[7], [8], None]
    assert [row["size"] for row in catalog] == [[1.5], None, [2.5]]


def test_counts_reconcile_in_the_report(outputs: Path) -> None:
    report = read_report(outputs)
    assert report["events"] == {
        "read": 8,
        "target_train": 3,
        "target_eval": 1,
        "target_test": 2,
        "history_only": 1,
        "unused": 1,
        "dead_letters": 0,
    }
    assert report["examples"] == {"train": 1, "eval": 1, "test": 2}
    assert report["lookups"] == 4


@pytest.mark.parametrize(("delay", "seen"), [(0, [0, 1, 2]), (4, [0, 1, 2]), (5, [0, 0, 1]), (10, [0, 0, 0])])
def test_feedback_delay_hides_recent_behaviours(tmp_path: Path, delay: int, seen: list[int]) -> None:
    schema = write_schema(tmp_path / "schema", PLAIN_EVENTS, users=None)
    split = SplitConfig(100, 200, 300, 400, feedback_delay_ms=delay)
    events = plain_events(item=[1, 2, 3], time=[100, 105, 110], label=[0, 0, 1], behaviour=[1, 1, 1])
    train = build_sequences(events, schema, split).examples["train"]
    assert train["target/history_end"].tolist() == seen


def test_the_first_of_equal_events_is_kept_and_ties_keep_the_order_of_the_log(tmp_path: Path) -> None:
    events = plain_events(item=[5, 4, 5, 5, 4], time=[7, 7, 7, 6, 7], label=[0, 1, 1, 1, 0], behaviour=[1] * 5)
    kept, repeated = drop_duplicates(events)
    assert list(zip(kept.time.tolist(), kept.item.tolist(), kept.row.tolist(), strict=True)) == [
        (6, 5, 4),
        (7, 5, 1),
        (7, 4, 2),
    ]
    assert sorted(repeated.row.tolist()) == [3, 5]


def test_csv_equals_parquet(tmp_path: Path, outputs: Path) -> None:
    data = tmp_path / "data"
    write_csv(data / "events" / "part-0.csv", LOG)
    write_csv(data / "items.csv", ITEM_ROWS)
    write_csv(data / "users.csv", USER_ROWS)
    run(data, write_schema(tmp_path / "schema"), tmp_path / "out")
    assert read_all(tmp_path / "out") == read_all(outputs)


def test_many_files_and_row_groups_change_nothing(tmp_path: Path, outputs: Path) -> None:
    data = write_data(tmp_path / "data", LOG)
    whole = pq.read_table(data / "events" / "part-0.parquet")
    pq.write_table(whole.slice(0, 5), data / "events" / "part-0.parquet", row_group_size=2)
    pq.write_table(whole.slice(5), data / "events" / "part-1.parquet", row_group_size=1)
    run(data, write_schema(tmp_path / "schema"), tmp_path / "out")
    assert read_all(tmp_path / "out") == read_all(outputs)


def test_string_ids_and_string_labels(tmp_path: Path) -> None:
    events = EVENTS.replace('"user" type: INT', '"user" type: BYTES').replace('"item" type: INT', '"item" type: BYTES')
    events = events.replace(
        '"click" type: INT', '"click" type: BYTES string_domain { value: "no" value: "maybe" value: "yes" }'
    )
    schema = write_schema(tmp_path / "schema", events, ITEMS.replace('"item" type: INT', '"item" type: BYTES'), None)
    log = event_rows(
        ("ann", "x", 50, "maybe", 1),
        ("ann", "y", 120, "yes", 1),
        ("bé", "x", 130, "no", 0),
        ("ann", "x", 140, "maybe", 0),
    )
    data = write_data(tmp_path / "data", log, dict(ITEM_ROWS) | {"item": ["x", "y", "z"]}, None)
    run(data, schema, tmp_path / "out")
    ann, be = read_examples(tmp_path / "out" / "examples" / "Split-train")
    assert (ann["user_id"], be["user_id"]) == ([b"ann"], ["bé".encode()])
    assert ann["history/item_id"] == [item_key("x"), item_key("y")]
    assert ann["target/label"] == [1.0, 0.0]
    assert be["target/label"] == [0.0]


def test_label_is_the_behaviour_without_a_behaviour_column(tmp_path: Path) -> None:
    events = "\n".join(line for line in EVENTS.splitlines() if '"seen"' not in line)
    log = event_rows((10, 1, 50, 1, 0), (10, 2, 60, 0, 1), (10, 3, 150, 1, 0))
    run(write_data(tmp_path / "data", log), write_schema(tmp_path / "schema", events), tmp_path / "out")
    (example,) = read_examples(tmp_path / "out" / "examples" / "Split-train")
    assert example["history/item_id"] == [1, 3]


def test_missing_values_keep_their_event(tmp_path: Path) -> None:
    log = event_rows((10, 1, 50, 0, 1), (10, 2, 150, 1, 1))
    log |= {"play": [None, 1.0], "stars": [None, 5], "mood": [None, "m"], "page": [0, None]}
    run(write_data(tmp_path / "data", log), write_schema(tmp_path / "schema"), tmp_path / "out")
    (example,) = read_examples(tmp_path / "out" / "examples" / "Split-train")
    assert np.isnan(example["history/play"][0])
    assert (example["history/stars"], example["history/mood"]) == ([-1, 5], [b"", b"m"])
    assert example["target/page"] == [-1]
    assert not read_letters(tmp_path / "out")


def test_a_user_with_200_000_events(tmp_path: Path) -> None:
    n = 200_000
    rng = np.random.default_rng(0)
    times = rng.permutation(n) // 2 * 399 // (n // 2)  # [n], many ties; (item, time) repeats become dead letters
    log: dict[str, Any] = {
        "user": np.full(n, 10),
        "item": np.arange(n) + 1,
        "time": times,
        "click": rng.integers(0, 2, n),
        "seen": np.ones(n, np.int64),
        "play": rng.random(n, np.float32),
        "stars": np.arange(n),
        "mood": [f"m{i % 9}" for i in range(n)],
        "page": np.zeros(n, np.int64),
    }
    items: dict[str, Any] = {
        "item": np.arange(n) + 1,
        "author": np.ones(n, int),
        "topics": [["a"]] * n,
        "size": np.ones(n),
    }
    run(write_data(tmp_path / "data", log, items), write_schema(tmp_path / "schema"), tmp_path / "out")
    (example,) = read_examples(tmp_path / "out" / "examples" / "Split-test")
    order = np.argsort(times, kind="stable")
    np.testing.assert_array_equal(example["history/item_id"], np.arange(n)[order] + 1)
    np.testing.assert_array_equal(example["history/stars"], order)
    assert example["history/mood"] == [b"m%d" % (i % 9) for i in order.tolist()]
    targets = np.sort(times[times >= SPLIT.test_start_ms])
    np.testing.assert_array_equal(example["target/history_end"], np.searchsorted(np.sort(times), targets))


@pytest.mark.parametrize("borders", [(200, 100, 300, 400), (100, 100, 100, 100)])
def test_borders_out_of_order_are_refused(borders: tuple[int, int, int, int]) -> None:
    with pytest.raises(UserError, match="train_start_ms <= eval_start_ms"):
        SplitConfig(*borders)


def test_a_finished_run_is_not_overwritten(outputs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"report\.json exists"):
        run(write_data(tmp_path / "data", LOG), write_schema(tmp_path / "schema"), outputs)
