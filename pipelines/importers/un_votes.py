"""Imports the roll-call votes of the United Nations General Assembly."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from nltk.stem import SnowballStemmer
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from model.schema import load_schema
from pipelines.dataset_folder import ShardWriter, TimeSplit, new_dataset_folder, write_dataset_json
from pipelines.importers.errors import DataImportError
from pipelines.importers.report import ImportReport
from pipelines.importers.un_baselines import un_baselines

EVAL_SESSION = 65
TEST_SESSION = 66
_STANCES = ("no", "abstain", "yes")
_WORD = re.compile(r"[a-z0-9]+")
_NUMBER = re.compile(r"R(?:ES)?/\d+/(\d+)")
_PLACE_WIDTHS = (8, 32)
_SAYS_NOTHING = ENGLISH_STOP_WORDS | {"resolution", "resolutions", "adopted", "general", "assembly", "un"}
_STEMMER = SnowballStemmer("english")


def import_un_votes(source: Path, out: Path, *, train_from_session: int, overwrite: bool = False) -> ImportReport:
    """Writes a data set folder of schema `un_votes`: a country is the user, a roll call the item.

    The label `agreed` is vote == yes. Every vote is a behaviour and its stance a cross feature. A vote's time is its
    date at 00:00 UTC (negative before 1970), so votes of one date never see each other. Train targets are the sessions
    `train_from_session` to 64, eval session 65, test 66 and later; all earlier votes are history. The `items` table
    has the extra columns `session` and `title`; `dataset.json` tells what model-free baselines reach on the test votes.

    Args:
        source: Folder with `votes.parquet` (country, rcid, vote, date) and `roll_calls.parquet` (rcid, session, date,
            unres, amend, para, short, issue).
        out: Data set folder to write; appears only when complete.
        train_from_session: First session whose votes are train targets.
        overwrite: Whether to replace an existing data set folder.

    Raises:
        DataImportError: If a file or column is missing, a vote is unknown or a session is out of range.
        DatasetFolderError: If `out` exists, cannot be replaced or holds what is read.
    """
    if not 1 <= train_from_session < EVAL_SESSION:
        raise DataImportError(f"train_from_session must be between 1 and {EVAL_SESSION - 1}, got {train_from_session}")
    schema = load_schema("un_votes")
    votes = _read(source / "votes.parquet", ["country", "rcid", "vote", "date"])
    columns = ["rcid", "session", "date", "unres", "amend", "para", "short", "issue"]
    roll_calls = _read(source / "roll_calls.parquet", columns)
    events = _events(votes, source / "votes.parquet")
    split = _split(roll_calls, events, train_from_session, source / "roll_calls.parquet")
    with new_dataset_folder(out, overwrite, reads=[source]) as folder:
        tables = {"events": events, "items": _items(roll_calls)}
        for name, table in tables.items():
            with ShardWriter(folder / name) as writer:
                writer.write(table)
        rows = {name: table.num_rows for name, table in tables.items()}
        baselines = un_baselines(folder, split.test_start_ms)
        periods = _test_periods(roll_calls, source / "roll_calls.parquet")
        write_dataset_json(
            folder,
            schema,
            split,
            imported_from="un_votes",
            rows=rows,
            baselines=baselines,
            test_periods_ms=periods,
        )
    return ImportReport(out, rows, split)


def _read(file: Path, columns: list[str]) -> pa.Table:
    if not file.is_file():
        raise DataImportError(f"{file}: missing; expected a folder with votes.parquet and roll_calls.parquet")
    names = pq.read_schema(file).names
    for name in columns:
        if name not in names:
            raise DataImportError(f"{file}: column {name!r} is missing; the file has {', '.join(names)}")
    return pq.read_table(file, columns=columns)


def _events(votes: pa.Table, file: Path) -> pa.Table:
    unknown = pc.unique(votes["vote"].filter(pc.invert(pc.is_in(votes["vote"], pa.array(_STANCES))))).to_pylist()
    if unknown:
        raise DataImportError(f"{file}: column 'vote': expected one of {_STANCES}, got {unknown[0]!r}")
    return pa.table(
        {
            "country": votes["country"].cast(pa.string()),
            "rcid": votes["rcid"],
            "timestamp": _to_ms(votes["date"], file),
            "agreed": pc.equal(votes["vote"], "yes").cast(pa.int64()),
            "voted": pa.repeat(1, votes.num_rows),
            "stance": votes["vote"].cast(pa.string()),
        }
    )


def _items(roll_calls: pa.Table) -> pa.Table:
    titles = _titles(roll_calls["short"].to_pylist(), roll_calls["unres"].to_pylist())
    issues = [[] if issue in (None, "none") else issue.split("|") for issue in roll_calls["issue"].to_pylist()]
    words = [title_words(title) for title in titles]
    return pa.table(
        {
            "rcid": roll_calls["rcid"],
            "title_words": pa.array(words, pa.list_(pa.string())),
            "issues": pa.array(issues, pa.list_(pa.string())),
            "place": pa.array([_places(of) for of in roll_calls["unres"].to_pylist()], pa.list_(pa.string())),
            "kind": _kinds(roll_calls["amend"].to_pylist(), roll_calls["para"].to_pylist()),
            "session": roll_calls["session"],
            "title": titles,
        }
    )


def _titles(titles: list[str | None], resolutions: list[str | None]) -> list[str]:
    """Titles; a vote on a paragraph or an amendment, which has none, bears that of its resolution."""
    of_resolution: dict[str, str] = {}
    for title, resolution in zip(titles, resolutions, strict=True):
        if title and resolution:
            of_resolution.setdefault(resolution, title)
    return [title or of_resolution.get(of or "", "") for title, of in zip(titles, resolutions, strict=True)]


def _places(resolution: str | None) -> list[str]:
    """Where a resolution's number lies in its session, as ranges that overlap: near numbers share most of them.

    A session takes up the committees' drafts in much the same order as the one before it, so the number says what a
    roll call without a title (all of sessions 69 and 70) is about.
    """
    found = _NUMBER.search(resolution or "")
    if found is None:
        return []
    number = int(found[1])
    return [f"{width}+{shift}:{(number + shift) // width}" for width in _PLACE_WIDTHS for shift in (0, width // 2)]


def _kinds(amendments: list[float | None], paragraphs: list[float | None]) -> list[str]:
    """What is voted on: an amendment, a paragraph or, where neither is coded, the whole resolution."""
    both = zip(amendments, paragraphs, strict=True)
    return [
        "amendment" if amendment == 1 else "paragraph" if paragraph == 1 else "whole" for amendment, paragraph in both
    ]


def title_words(title: str) -> list[str]:
    """Stems of a title's words, each once, without the words that any title may have.

    Some sessions' titles are catalog headings (`PALESTINE QUESTION`), others whole sentences ending in `resolution /
    adopted by the General Assembly`; what they share is left.
    """
    words = (word for word in _WORD.findall(title.lower()) if word not in _SAYS_NOTHING)
    return list(dict.fromkeys(_STEMMER.stem(word) for word in words))


def _split(roll_calls: pa.Table, events: pa.Table, train_from_session: int, file: Path) -> TimeSplit:
    starts = [_start_ms(roll_calls, session, file) for session in (train_from_session, EVAL_SESSION, TEST_SESSION)]
    return TimeSplit(starts[0], starts[1], starts[2], pc.max(events["timestamp"]).as_py() + 1)


def _start_ms(roll_calls: pa.Table, session: int, file: Path) -> int:
    """Date of the first roll call of a session or a later one."""
    dates = roll_calls["date"].filter(pc.greater_equal(roll_calls["session"], session))
    if len(dates) == 0:
        raise DataImportError(f"{file}: column 'session': no roll call in session {session} or later")
    return int(pc.min(_to_ms(dates, file)).as_py())


def _test_periods(roll_calls: pa.Table, file: Path) -> list[int]:
    """Starts of the test sessions, ms."""
    last = pc.max(roll_calls["session"]).as_py()
    return sorted({_start_ms(roll_calls, session, file) for session in range(TEST_SESSION, last + 1)})


def _to_ms(dates: pa.ChunkedArray, file: Path) -> pa.ChunkedArray:
    try:
        return dates.cast(pa.string()).cast(pa.timestamp("ms")).cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataImportError(f"{file}: column 'date': expected YYYY-MM-DD: {error}") from None
