import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from serving.publisher import PublishError, latest_version, publish, versions

ROOT = Path(__file__).resolve().parents[1]


def _build(path: Path) -> None:
    (path / "variables").mkdir()
    (path / "variables" / "data").write_bytes(b"x" * 1000)
    (path / "saved_model.pb").write_text("model")


def test_numbers_follow_each_other_and_the_version_is_whole(tmp_path: Path) -> None:
    model_dir = tmp_path / "models" / "twin"
    assert latest_version(model_dir) is None
    assert publish(model_dir, _build) == 1
    assert publish(model_dir, _build) == 2
    assert publish(model_dir, _build, version=7) == 7
    assert publish(model_dir, _build) == 8
    assert latest_version(model_dir) == 8
    assert (model_dir / "8" / "variables" / "data").read_bytes() == b"x" * 1000
    assert [name for name in os.listdir(model_dir) if name.startswith(".tmp-")] == []


def test_versions_reads_names_as_the_server_does(tmp_path: Path) -> None:
    for name in ("1", "00000012", "12", "x3", "-4", "5a", ".tmp-9-1", str(2**63), "٣"):
        (tmp_path / name).mkdir()
    (tmp_path / "99").write_text("a file")
    (tmp_path / "98").symlink_to("98")
    (tmp_path / "97").symlink_to("nowhere")
    assert versions(tmp_path) == {1: tmp_path / "1", 12: tmp_path / "12"}


@pytest.mark.parametrize("version", [-1, 2**63])
def test_invalid_version(tmp_path: Path, version: int) -> None:
    with pytest.raises(PublishError, match="no valid version number"):
        publish(tmp_path, _build, version)


def test_taken_version_is_refused_and_kept(tmp_path: Path) -> None:
    publish(tmp_path, _build, 3)
    with pytest.raises(PublishError, match="already published"):
        publish(tmp_path, _build, 3)
    assert (tmp_path / "3" / "saved_model.pb").read_text() == "model"


def test_failing_or_empty_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        (path / "half").write_text("")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        publish(tmp_path, fail)
    with pytest.raises(PublishError, match="wrote no file"):
        publish(tmp_path, lambda path: None)
    assert os.listdir(tmp_path) == [".publish.lock"]


def test_build_sees_a_name_no_server_takes_for_a_version(tmp_path: Path) -> None:
    seen = []

    def build(path: Path) -> None:
        seen.append(path.name)
        assert versions(tmp_path) == {}
        _build(path)

    publish(tmp_path, build)
    assert seen == [f".tmp-1-{os.getpid()}"]


def test_concurrent_publishers_get_different_numbers(tmp_path: Path) -> None:
    got: list[int] = []
    barrier = threading.Barrier(6)

    def slow_build(path: Path) -> None:
        _build(path)
        time.sleep(0.05)

    def run() -> None:
        barrier.wait()
        got.append(publish(tmp_path, slow_build))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [1, 2, 3, 4, 5, 6]
    assert len(versions(tmp_path)) == 6


_KILLED = """
    import sys, time
    from pathlib import Path
    from serving import publisher

    stage, model_dir = sys.argv[1], Path(sys.argv[2])

    def reached():
        print("reached", flush=True)
        time.sleep(60)

    def build(path):
        (path / "saved_model.pb").write_text("half")
        if stage == "build":
            reached()
        (path / "saved_model.pb").write_text("whole")

    flush = publisher.flush_tree
    def flush_tree(path):
        flush(path)
        if stage == "flushed":
            reached()
    publisher.flush_tree = flush_tree

    sync = publisher._flush
    def flush_one(path):
        sync(path)
        if stage == "renamed" and path == model_dir:
            reached()
    publisher._flush = flush_one
    publisher.publish(model_dir, build)
"""


@pytest.mark.parametrize(("stage", "published"), [("build", []), ("flushed", []), ("renamed", [1])])
def test_killed_publisher(tmp_path: Path, stage: str, published: list[int]) -> None:
    command = [sys.executable, "-c", textwrap.dedent(_KILLED), stage, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "reached\n"
    leftovers = [name for name in os.listdir(tmp_path) if name.startswith(".tmp-")]
    assert len(leftovers) == (stage != "renamed")

    # A living publisher's work is not taken away.
    assert publish(tmp_path, _build) == len(published) + 1
    assert [name for name in os.listdir(tmp_path) if name.startswith(".tmp-")] == leftovers

    process.send_signal(signal.SIGKILL)
    process.wait()
    number = publish(tmp_path, _build)
    assert sorted(versions(tmp_path)) == [*published, number - 1, number]
    assert [name for name in os.listdir(tmp_path) if name.startswith(".tmp-")] == []
    for path in versions(tmp_path).values():
        assert (path / "saved_model.pb").read_text() in ("whole", "model")
