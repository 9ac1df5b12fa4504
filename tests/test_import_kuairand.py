import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from model.errors import UserError
from pipelines.importers.kuairand import import_kuairand

SAMPLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "kuairand_sample"

LOG = """user_id,video_id,date,hourmin,time_ms,is_click,is_like,long_view,play_time_ms,duration_ms,tab
1,10,20220501,0,{0},0,0,0,0,1000,0
1,11,20220501,0,{1},1,0,0,0,1000,1
2,10,20220501,0,{2},0,0,0,700,1000,1
2,11,20220501,0,{3},1,1,1,900,1000,4
"""
VIDEOS = """video_id,author_id,video_type,upload_dt,video_duration,music_type,tag
10,7,NORMAL,2022-04-10,1000.0,9.0,"62,7"
11,8,AD,2022-04-10,,,
"""
USERS = """\
user_id,user_active_degree,is_video_author,follow_user_num_range,register_days_range,onehot_feat1,onehot_feat6
1,full_active,0,500+,730+,1,2
2,low_active,1,"(10,50]",0-30,,3
"""


def write_source(folder: Path, suffix: str = "1k") -> Path:
    folder.mkdir(parents=True)
    (folder / f"log_standard_4_08_to_4_21_{suffix}.csv").write_text(LOG.format(1_000, 2_000, 3_000, 4_000))
    (folder / f"log_random_4_22_to_5_08_{suffix}.csv").write_text(LOG.format(5_000, 6_000, 7_000, 8_000))
    (folder / f"video_features_basic_{suffix}.csv").write_text(VIDEOS)
    (folder / f"user_features_{suffix}.csv").write_text(USERS)
    return folder


@pytest.mark.parametrize("suffix", ["1k", "27k", "pure"])
def test_all_logs_and_features_are_read(tmp_path: Path, suffix: str) -> None:
    report = import_kuairand(write_source(tmp_path / "KuaiRand" / "data", suffix).parent, tmp_path / "out")
    assert report.rows == {"events": 8, "items": 2, "users": 2}
    events = pq.read_table(tmp_path / "out" / "events").to_pandas().sort_values("time_ms")
    # Neither clicked nor played; clicked; played; both.
    assert events["is_behaviour"].tolist() == [0, 1, 1, 1] * 2
    assert events["tab"].tolist() == [0, 1, 1, 4] * 2
    items = pq.read_table(tmp_path / "out" / "items").to_pylist()
    assert items[0] == {
        "video_id": 10, "author_id": 7, "video_type": "NORMAL", "music_type": 9, "tag": [62, 7],
        "video_duration": 1000.0,
    }  # fmt: skip
    assert (items[1]["tag"], items[1]["music_type"], items[1]["video_duration"]) == ([], None, None)
    users = pq.read_table(tmp_path / "out" / "users").to_pylist()
    assert (users[1]["follow_user_num_range"], users[1]["onehot_feat1"]) == ("(10,50]", None)


def test_split_borders_are_shares_of_the_events(tmp_path: Path) -> None:
    import_kuairand(
        write_source(tmp_path / "source"), tmp_path / "out", target_share=0.5, eval_share=0.125, test_share=0.25
    )
    # 8 events at 1000 ... 8000: the last 4 are targets, of these the last 2 test and the one before eval.
    content = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert content["schema"] == "kuairand"
    assert content["split"] == {
        "train_start_ms": 5_000, "eval_start_ms": 6_000, "test_start_ms": 7_000, "end_ms": 8_001
    }  # fmt: skip


def test_bad_cell_names_file_row_and_column(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    log = source / "log_standard_4_08_to_4_21_1k.csv"
    log.write_text(log.read_text().replace("2,11,20220501,0,4000", "2,11,20220501,0,soon"))
    with pytest.raises(UserError, match=r"log_standard_4_08_to_4_21_1k\.csv: row 5, column 'time_ms'.*int64.*'soon'"):
        import_kuairand(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_missing_column_and_file(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    videos = source / "video_features_basic_1k.csv"
    videos.write_text(VIDEOS.replace("author_id", "writer"))
    with pytest.raises(UserError, match=r"video_features_basic_1k\.csv: column 'author_id' is missing.*writer"):
        import_kuairand(source, tmp_path / "out")
    videos.write_text("")
    with pytest.raises(UserError, match=r"video_features_basic_1k\.csv: is empty"):
        import_kuairand(source, tmp_path / "out")
    videos.unlink()
    with pytest.raises(UserError, match=r"no file video_features_basic_\*\.csv"):
        import_kuairand(source, tmp_path / "out")


def test_shares_must_nest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"eval_share.*test_share.*target_share"):
        import_kuairand(write_source(tmp_path / "source"), tmp_path / "out", target_share=0.1, eval_share=0.1)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"SKIPPED: no KuaiRand sample at {SAMPLE}")
def test_real_sample(tmp_path: Path) -> None:
    seen: list[int] = []
    report = import_kuairand(SAMPLE, tmp_path / "out", on_rows=seen.append)
    assert report.rows == {"events": 19_173, "items": 3_496, "users": 3_260}
    assert sum(seen) == 19_173
    events = pq.read_table(tmp_path / "out" / "events").to_pandas()
    assert events["is_click"].mean() == pytest.approx(0.4541, abs=1e-4)
    assert events["is_behaviour"].mean() == pytest.approx(0.9118, abs=1e-4)
    last = (events["time_ms"] >= report.split.test_start_ms).mean()
    assert last == pytest.approx(0.05, abs=0.005)
    items = pq.read_table(tmp_path / "out" / "items").to_pandas().set_index("video_id")
    assert items.loc[9, "tag"].tolist() == [62, 7]
    assert set(events["video_id"]) <= set(items.index)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("video_features_basic", "9.0", "9.5", "row 2, column 'music_type': expected int64, got 9.5"),
        ("video_features_basic", '"62,7"', '"62,abc"', "row 2, column 'tag': expected int64 values.*got '62,abc'"),
        ("video_features_basic", ",AD,", ",\xe9,", "row 3, column 'video_type': expected UTF-8 text"),
        ("user_features", "user_id", "us\xe9r_id", "the header is not UTF-8"),
        ("user_features", "low_active,1", "low_active,\xe9", "row 3, column 'is_video_author': expected double, got"),
    ],
)
def test_a_cell_that_does_not_convert(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    path = write_source(tmp_path / "source") / f"{file}_1k.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new), encoding="latin-1")
    with pytest.raises(UserError, match=rf"{file}_1k\.csv: {message}"):
        import_kuairand(path.parent, tmp_path / "out")
