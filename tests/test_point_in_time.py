from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.schema import DatasetSchema
from pipelines.preprocess.sequences import build_sequences, drop_duplicates
from pipelines.preprocess.split_config import SplitConfig
from tests.preprocess_support import (
    ITEM_ROWS,
    PLAIN_EVENTS,
    event_rows,
    plain_events,
    read_examples,
    read_letters,
    run,
    write_data,
    write_schema,
)

BORDERS = (30, 60, 80, 100)
RANGES = {"train": (30, 60), "eval": (60, 80), "test": (80, 100)}
# item, time, click, seen
CELLS = (st.integers(1, 4), st.integers(0, 99), st.integers(0, 1), st.integers(0, 1))
EVENT = st.tuples(*CELLS)
LOG = st.lists(st.tuples(st.integers(10, 13), *CELLS), min_size=1, max_size=60)
DELAY = st.integers(0, 40)


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> DatasetSchema:
    return write_schema(tmp_path_factory.mktemp("schema"), PLAIN_EVENTS, users=None)


def assert_point_in_time(split: str, example: dict[str, Any], log: list[tuple[int, int, int, int]], delay: int) -> None:
    """Checks an example against one user's log of distinct (item, time, click, seen), by brute force."""
    start, end = RANGES[split]
    history = list(zip(example["history/item_id"], example["history/timestamp"], strict=True))
    assert sorted(history) == sorted((item, time) for item, time, _, seen in log if seen and time < end)
    assert list(example["history/timestamp"]) == sorted(example["history/timestamp"])
    names = ("item_id", "timestamp", "label", "history_end")
    targets = list(zip(*(list(example[f"target/{name}"]) for name in names), strict=True))
    assert sorted(target[:3] for target in targets) == sorted(
        (item, time, float(click)) for item, time, click, _ in log if start <= time < end
    )
    for _, time, _, visible in targets:
        assert all(then < time - delay for _, then in history[:visible]), "a target sees its own time or later"
        assert all(then >= time - delay for _, then in history[visible:]), "a behaviour is hidden for no reason"


def distinct(rows: list[tuple[Any, ...]], key: slice) -> list[tuple[Any, ...]]:
    """The first row of each key, in order."""
    return list({row[key]: row for row in reversed(rows)}.values())


@settings(max_examples=300, deadline=None)
@given(log=st.lists(EVENT, min_size=1, max_size=40), delay=DELAY)
def test_no_target_sees_its_own_time_or_later(
    schema: DatasetSchema, log: list[tuple[int, int, int, int]], delay: int
) -> None:
    item, time, click, seen = (list(column) for column in zip(*log, strict=True))
    kept, repeated = drop_duplicates(plain_events(item, time, click, seen))
    sequences = build_sequences(kept, schema, SplitConfig(*BORDERS, feedback_delay_ms=delay))
    assert sum(sequences.counts.values()) + len(repeated.item) == len(log)
    unique = distinct(log, slice(0, 2))
    assert len(unique) == len(kept.item)
    assert set(sequences.examples) == {s for s, (a, b) in RANGES.items() if any(a <= row[1] < b for row in unique)}
    for split, example in sequences.examples.items():
        assert_point_in_time(split, example, unique, delay)
    train = sequences.examples.get("train")
    # Every event once, whatever came of the targets: else an item's frequency would tell its label.
    before = sorted(row[0] for row in unique if row[3] and row[1] < RANGES["train"][0])
    looked_up = [] if train is None else [*before, *train["target/item_id"]]
    assert sorted(sequences.train_lookups.tolist()) == sorted(looked_up)
    assert train is None or max(*train["history/timestamp"], *train["target/timestamp"], 0) < RANGES["train"][1]


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=LOG, delay=DELAY)
def test_the_whole_job_keeps_time_and_loses_nothing(
    schema: DatasetSchema, tmp_path_factory: pytest.TempPathFactory, log: list[tuple[int, ...]], delay: int
) -> None:
    root = tmp_path_factory.mktemp("job")
    # One event that is a target, so that no random log is without any; one of an unknown item.
    log = [*log, (14, 1, 50, 1, 1), (14, 99, 50, 1, 1)]
    items = {name: [*values, values[0]] for name, values in ITEM_ROWS.items()}
    items["item"] = [1, 2, 3, 4]
    write_data(root / "data", event_rows(*log), items, None)
    split = SplitConfig(*BORDERS, feedback_delay_ms=delay, max_dead_letter_share=1)
    report = run(root / "data", schema, root / "out", split)
    assert report.events["read"] == len(log) == sum(report.events.values()) - report.events["read"]
    assert report.events["dead_letters"] == len(read_letters(root / "out"))
    frequency = np.zeros(5, np.int64)
    for name in RANGES:
        examples = read_examples(root / "out" / "examples" / f"Split-{name}")
        assert report.examples[name] == len(examples)
        for example in examples:
            user = int(example["user_id"][0])
            mine = distinct([row for row in log if row[0] == user and row[1] != 99], slice(0, 3))
            assert_point_in_time(name, example, [row[1:] for row in mine], delay)  # type: ignore[misc]
            if name == "train":
                history = zip(example["history/item_id"], example["history/timestamp"], strict=True)
                earlier = [item for item, time in history if time < RANGES["train"][0]]
                np.add.at(frequency, [*earlier, *example["target/item_id"]], 1)
    catalog = read_examples(Path(root / "out" / "catalog" / "Split-catalog"))
    assert [row["frequency"][0] for row in catalog] == frequency[1:].tolist()
