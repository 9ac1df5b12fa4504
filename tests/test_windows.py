"""Windows of targets that share a history."""

import dataclasses
from pathlib import Path

import numpy as np

from model.windows import window_dataset
from tests.toy import SMALL, tensors, toy_ranker, toy_schema
from tests.training_data import user_row, write


def test_every_target_comes_once_with_the_history_it_may_see(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [user_row(rng, 30, 10), user_row(rng, 3, 1), user_row(rng, 0, 5)]
    files = [write(tmp_path / "a.gz", rows[:2]), write(tmp_path / "b.gz", rows[2:])]
    seen = []
    for batch in window_dataset(files, toy_schema(), SMALL, shuffle=True):
        for b, n in zip(*np.nonzero(batch["weight"].numpy()), strict=True):
            end = int(batch["candidate/history_end"][b, n])
            ids = batch["history/item_id"][b, :end].numpy().tolist()
            assert end <= batch["history/length"][b]
            target = (int(batch["candidate/item_id"][b, n]), int(batch["request/timestamp"][b, n]))
            seen.append((*target, float(batch["label"][b, n]), ids[-3:]))
    expected = []
    for row in rows:
        for t, end in enumerate(np.atleast_1d(row["target/history_end"])):
            last = np.asarray(row["history/item_id"])[:end].tolist()[-3:]
            target = (int(row["target/item_id"][t]), int(row["target/timestamp"][t]))
            expected.append((*target, float(row["target/label"][t]), last))
    assert sorted(seen) == sorted(expected)


def test_the_history_is_cut_to_the_most_recent(tmp_path: Path) -> None:
    row = user_row(np.random.default_rng(1), 50, 3)
    row["target/history_end"] = np.array([10, 40, 45])
    config = dataclasses.replace(SMALL, history_length=20)
    batch = next(iter(window_dataset([write(tmp_path / "a.gz", [row])], toy_schema(), config, shuffle=False)))
    # The second target sees the 20 behaviours before number 40: the window starts at the first target's own, number 0.
    np.testing.assert_array_equal(batch["history/item_id"][0], np.asarray(row["history/item_id"])[:45])
    np.testing.assert_array_equal(batch["candidate/history_end"], [[10, 40, 45]])
    row["target/history_end"] = np.array([38, 40, 45])
    batch = next(iter(window_dataset([write(tmp_path / "b.gz", [row])], toy_schema(), config, shuffle=False)))
    np.testing.assert_array_equal(batch["history/item_id"][0], np.asarray(row["history/item_id"])[18:45])
    np.testing.assert_array_equal(batch["candidate/history_end"], [[20, 22, 27]])


def test_a_target_is_scored_from_its_own_last_behaviours_whatever_comes_after_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    ranker = toy_ranker(dataclasses.replace(SMALL, history_length=20))
    row = user_row(rng, 60, 4)
    row["target/history_end"] = np.array([30, 33, 41, 55])
    batch = next(iter(window_dataset([write(tmp_path / "a.gz", [row])], toy_schema(), ranker.config, shuffle=False)))
    scores = ranker(batch).numpy()[0]
    for t, end in enumerate(row["target/history_end"]):
        last = slice(end - 20, end)
        request = {name: np.asarray(values)[None, last] for name, values in row.items() if name.startswith("history/")}
        request |= {
            "history/length": np.array([20]),
            "candidate/item_id": row["target/item_id"][None, t : t + 1],
            "request/timestamp": row["target/timestamp"][t : t + 1],
            "context/page_position": row["target/page_position"][t : t + 1],
            "user/age_group": np.array([row["user/age_group"]]),
            "user/activity": np.array([row["user/activity"]]),
        }
        np.testing.assert_allclose(ranker(tensors(request)).numpy()[0, 0], scores[t], atol=1e-6)


def test_a_seed_fixes_the_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    files = [write(tmp_path / f"{i}.gz", [user_row(rng, 5, 9) for _ in range(4)]) for i in range(3)]

    def order(shuffle: bool) -> list[int]:
        data = window_dataset(files, toy_schema(), SMALL, shuffle)
        return [int(t) for batch in data for t in np.ravel(batch["request/timestamp"])]

    plain, shuffled = order(False), order(True)
    assert plain == order(False) and shuffled == order(True)
    plain, shuffled = ([t for t in times if t] for times in (plain, shuffled))  # without padding
    assert plain != shuffled and sorted(plain) == sorted(shuffled)
