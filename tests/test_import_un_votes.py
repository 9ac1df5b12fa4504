import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from model.errors import UserError
from pipelines.importers.un_votes import import_un_votes, title_words

SOURCE = Path(__file__).resolve().parents[2] / "shared" / "data" / "un_votes"


def write_source(folder: Path) -> Path:
    roll_calls = [
        (1, 46, "1969-12-31", "R/46/1", 0, None, "PALESTINE QUESTION", "me|hr"),
        (2, 46, "1970-01-02", "R/46/2", None, None, "NUCLEAR TESTS--BAN, TESTS", "nu"),
        (3, 65, "2010-11-01", None, 1, 0, None, "none"),
        (4, 66, "2011-11-01", "R/66/1", 0, 0, "PALESTINE QUESTION", "me"),
        (5, 66, "2011-11-01", "R/66/1", None, 1, None, "none"),
    ]
    votes = {"Chad": "yes no yes no yes", "Peru": "no yes abstain yes no", "Fiji": "abstain abstain no yes no"}
    folder.mkdir()
    frame = pd.DataFrame(roll_calls, columns=["rcid", "session", "date", "unres", "amend", "para", "short", "issue"])
    frame.to_parquet(folder / "roll_calls.parquet")
    rows = [
        (country, roll_call[0], vote, roll_call[2])
        for country, text in votes.items()
        for roll_call, vote in zip(roll_calls, text.split(), strict=True)
    ]
    pd.DataFrame(rows, columns=["country", "rcid", "vote", "date"]).to_parquet(folder / "votes.parquet")
    return folder


def test_events_items_and_split(tmp_path: Path) -> None:
    report = import_un_votes(write_source(tmp_path / "source"), tmp_path / "out", train_from_session=46)
    assert report.rows == {"events": 15, "items": 5}
    events = pq.read_table(tmp_path / "out" / "events").to_pylist()
    day = 86_400_000
    assert events[0] == {
        "country": "Chad", "rcid": 1, "timestamp": -day, "agreed": 1, "voted": 1, "stance": "yes"
    }  # fmt: skip
    assert [e["timestamp"] for e in events[:2]] == [-day, day]
    assert events[3]["timestamp"] == events[4]["timestamp"] == report.split.test_start_ms
    assert [e["agreed"] for e in events if e["country"] == "Fiji"] == [0, 0, 0, 1, 0]
    items = pq.read_table(tmp_path / "out" / "items").to_pylist()
    assert items[1]["title_words"] == ["nuclear", "test", "ban"]
    assert [item["issues"] for item in items] == [["me", "hr"], ["nu"], [], ["me"], []]
    assert [item["kind"] for item in items] == ["whole", "whole", "amendment", "whole", "paragraph"]
    # A paragraph without a title bears its resolution's; what belongs to no known resolution has none.
    assert items[4]["title"] == "PALESTINE QUESTION" and items[4]["title_words"] == ["palestin", "question"]
    assert items[2]["title_words"] == [] and items[2]["session"] == 65
    assert report.split.train_start_ms == -day
    assert report.split.eval_start_ms == 14_914 * day  # 2010-11-01
    assert report.split.end_ms == report.split.test_start_ms + 1
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["test_periods_ms"] == [report.split.test_start_ms]


def test_titles_of_all_styles_meet_in_the_same_stems() -> None:
    assert title_words("PALESTINE QUESTION") == ["palestin", "question"]
    sentence = "The question of Palestine : resolution / adopted by the General Assembly"
    assert title_words(sentence) == ["question", "palestin"]
    assert title_words("") == []


def test_baselines_see_only_earlier_dates(tmp_path: Path) -> None:
    import_un_votes(write_source(tmp_path / "source"), tmp_path / "out", train_from_session=46)
    result = json.loads((tmp_path / "out" / "dataset.json").read_text())["baselines"]
    # Shares of yes before 2011: Chad 2/3, Peru 1/3, Fiji 0, for both roll calls of that date.
    # Roll call 4 (no, yes, yes): Chad above both: 0 of 2 pairs. Roll call 5 (yes, no, no): 2 of 2 pairs.
    assert result["last_100_within_roll_call_auc"] == pytest.approx(0.5)
    # Positives Chad 2/3, Peru 1/3, Fiji 0 against the same negatives: one half by symmetry.
    assert result["last_100_auc"] == pytest.approx(0.5)
    assert result["test_votes"] == 6


def test_unknown_vote_missing_column_missing_file(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    votes = pd.read_parquet(source / "votes.parquet")
    votes.assign(vote=votes["vote"].replace("no", "nay")).to_parquet(source / "votes.parquet")
    with pytest.raises(UserError, match=r"votes\.parquet: column 'vote'.*got 'nay'"):
        import_un_votes(source, tmp_path / "out", train_from_session=46)
    votes.assign(date="soon").to_parquet(source / "votes.parquet")
    with pytest.raises(UserError, match=r"votes\.parquet: column 'date': expected YYYY-MM-DD"):
        import_un_votes(source, tmp_path / "out", train_from_session=46)
    votes.drop(columns="date").to_parquet(source / "votes.parquet")
    with pytest.raises(UserError, match=r"votes\.parquet: column 'date' is missing"):
        import_un_votes(source, tmp_path / "out", train_from_session=46)
    (source / "votes.parquet").unlink()
    with pytest.raises(UserError, match=r"votes\.parquet: missing"):
        import_un_votes(source, tmp_path / "out", train_from_session=46)
    assert not (tmp_path / "out").exists()


def test_train_from_session_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="between 1 and 64, got 65"):
        import_un_votes(tmp_path, tmp_path / "out", train_from_session=65)


@pytest.mark.skipif(not SOURCE.is_dir(), reason=f"SKIPPED: no UN votes at {SOURCE}")
def test_real_votes(tmp_path: Path) -> None:
    report = import_un_votes(SOURCE, tmp_path / "out", train_from_session=46)
    assert report.rows == {"events": 870_109, "items": 6_203}
    events = pq.read_table(tmp_path / "out" / "events").to_pandas()
    assert events["agreed"].mean() == pytest.approx(0.797, abs=5e-4)
    items = pq.read_table(tmp_path / "out" / "items").to_pandas().set_index("rcid")
    session = events["rcid"].map(items["session"])
    split = report.split
    # Test is session 66 and later, eval session 65, nothing else, although sessions are cut by time.
    assert ((events["timestamp"] >= split.test_start_ms) == (session >= 66)).all()
    periods = json.loads((tmp_path / "out" / "dataset.json").read_text())["test_periods_ms"]
    assert len(periods) == 9 and periods[0] == split.test_start_ms
    # Sessions 66 to 74.
    assert (np.searchsorted(periods, events["timestamp"], side="right") == np.maximum(session - 65, 0)).all()
    in_eval = (events["timestamp"] >= split.eval_start_ms) & (events["timestamp"] < split.test_start_ms)
    assert (in_eval == (session == 65)).all()
    assert ((events["timestamp"] >= split.train_start_ms) == (session >= 46)).all()
    assert (session >= 66).sum() == 147_435
    result = json.loads((tmp_path / "out" / "dataset.json").read_text())["baselines"]
    assert result["test_votes"] == 147_435
    assert result["last_100_auc"] == pytest.approx(0.730, abs=0.002)
    assert result["last_100_within_roll_call_auc"] == pytest.approx(0.776, abs=0.002)
    assert result["nearest_20_titles_auc"] > result["last_100_auc"] + 0.05
