"""A job that fails over its dead letters leaves them where TFX does not clean, and says so."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from model.errors import UserError
from pipelines.beam_options import beam_options
from pipelines.preprocess.job import OutputPaths, preprocess
from pipelines.tfx.kept_dead_letters import kept_dead_letters
from tests.preprocess_support import SPLIT, event_rows, write_data, write_schema


def test_letters_survive_the_artifact_that_held_them(tmp_path: Path) -> None:
    schema = write_schema(tmp_path / "schema")
    data = write_data(tmp_path / "data", event_rows((10, 1, 150, 1, 1), (10, None, 160, 1, 1)))
    out, kept = OutputPaths.under(tmp_path / "artifact"), tmp_path / "run" / "dead_letters"
    kept.mkdir(parents=True)
    (kept / "of-an-earlier-run.parquet").touch()
    with (
        pytest.raises(UserError, match="1 of 2 rows of the events table") as caught,
        kept_dead_letters(out.dead_letters, str(kept)),
    ):
        preprocess(data, schema, SPLIT, out, beam_options())
    assert f"All of them are in {kept}" in str(caught.value)
    assert str(out.dead_letters) not in str(caught.value)
    assert pq.read_table(kept).column("reason").to_pylist() == ["null_id"]


def test_without_letters_the_error_stays_and_nothing_is_left(tmp_path: Path) -> None:
    error = UserError("no such table")
    with pytest.raises(UserError) as caught, kept_dead_letters(str(tmp_path / "none"), str(tmp_path / "kept")):
        raise error
    assert caught.value is error
    assert not (tmp_path / "kept").exists()
