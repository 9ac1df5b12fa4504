import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.schema import DatasetSchema
from pipelines import readers
from pipelines.readers import RawDataError, Span, csv_header, find_files, open_table, read_chunks
from tests.preprocess_support import ITEM_ROWS, event_rows, write_csv, write_parquet, write_schema

LOG = event_rows((10, 1, 50, 0, 1), (10, 2, 150, 1, 1), (11, 3, 160, 1, 1))


@pytest.fixture
def schema(tmp_path: Path) -> DatasetSchema:
    return write_schema(tmp_path / "schema")


def csv_rows(path: Path, text: bytes, columns: tuple[str, ...]) -> list[tuple[object, ...]]:
    """(row, cells ...) of good rows and (row, text) of malformed ones, as read."""
    path.write_bytes(text)
    found: list[tuple[object, ...]] = []
    for chunk in read_chunks(Span(str(path), 0, None, 1, columns)):
        cells = [column.to_pylist() for column in chunk.columns.columns]
        found += zip(chunk.rows.tolist(), *cells, strict=True)
        found += chunk.malformed
    return sorted(found, key=str)


def test_csv_rows_keep_their_numbers_around_malformed_ones(tmp_path: Path) -> None:
    text = b'b,a\nx,1\nonly\n\ny,2,3\n"two\nlines",4\n\xff,5\nlast,6,\n'
    assert csv_rows(tmp_path / "t.csv", text, ("a", "b")) == [
        (1, b"1", b"x"),
        (2, "only"),
        (3, "y,2,3"),
        (4, b"4", b"two\nlines"),
        (5, b"5", b"\xff"),
        (6, "last,6,"),
    ]


HEADER = b"a,b,c,d\n"


def test_an_open_quote_loses_each_line_it_swallows_and_no_other(tmp_path: Path) -> None:
    text = HEADER + b'1,2,"x\n5,6,7,8\n9,10,11,"y"\n13,14,15,16\n'
    # The quote before y closes the one before x: a row of three fields.
    assert csv_rows(tmp_path / "t.csv", text, ("a", "d")) == [
        (1, 'a quote opened in this row swallowed the 2 after it: 1,2,"x'),
        (2, "swallowed by a quote opened in row 1: 5,6,7,8"),
        (3, 'swallowed by a quote opened in row 1: 9,10,11,"y"'),
        (4, b"13", b"16"),
    ]


def test_an_open_quote_that_leaves_a_row_of_the_right_length_is_found(tmp_path: Path) -> None:
    # Column c, which holds the swallowed rows, is not even asked for.
    text = HEADER + b'0,0,0,0\n1,2,"3,4\n5,6,7,8\n9,10,"11,12\n13,14,15,16\n'
    assert csv_rows(tmp_path / "t.csv", text, ("a", "d")) == [
        (1, b"0", b"0"),
        (2, "a quote opened in this row swallowed the 2 after it: 1,2,3,4"),
        (3, "swallowed by a quote opened in row 2: 5,6,7,8"),
        (4, "swallowed by a quote opened in row 2: 9,10,11,12"),
        (5, b"13", b"16"),
    ]


@pytest.mark.parametrize("opened", [b'1,2,3,"4', b'1,"2,3,4'])
def test_a_quote_open_until_the_end_of_the_file(tmp_path: Path, opened: bytes) -> None:
    rows = csv_rows(tmp_path / "t.csv", HEADER + b"0,0,0,0\n" + opened + b"\n" + b"5,6,7,8\n" * 50, ("a", "d"))
    assert rows[0] == (1, b"0", b"0")
    assert sorted(row[0] for row in rows) == list(range(1, 53))  # type: ignore[type-var]
    assert sum("swallowed by a quote opened in row 2: 5,6,7,8" in str(row[1]) for row in rows) == 50


def test_text_of_several_lines_is_text(tmp_path: Path) -> None:
    text = HEADER + b'1,2,"one, two\nthree, four",4\n5,6,"x\n\ny",8\n'
    assert csv_rows(tmp_path / "t.csv", text, ("c", "d")) == [
        (1, b"one, two\nthree, four", b"4"),
        (2, b"x\n\ny", b"8"),
    ]


def test_a_quote_open_for_megabytes_is_an_error_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_CSV_BLOCK_BYTES", 1000)
    text = HEADER + b"0,0,0,0\n" * 5 + b'1,2,"3,4\n' + b"5,6,7,8\n" * 500
    with pytest.raises(RawDataError, match=r"t\.csv: line 7: a row of more than 1,000 bytes begins"):
        csv_rows(tmp_path / "t.csv", text, ("a",))


def test_row_groups_become_spans_with_their_first_row(tmp_path: Path, schema: DatasetSchema) -> None:
    write_parquet(tmp_path / "events" / "b.parquet", LOG, row_group_size=2)
    write_parquet(tmp_path / "events" / "a.parquet", LOG, row_group_size=3)
    table = open_table(str(tmp_path), "events", schema)
    assert [Path(file).name for file in table.files] == ["a.parquet", "b.parquet"]
    assert [(s.file_index, s.row_group, s.first_row) for s in table.spans] == [(0, 0, 1), (1, 0, 1), (1, 1, 3)]
    assert table.parquet_rows == 6
    rows = [chunk.rows.tolist() for span in table.spans for chunk in read_chunks(span, chunk_rows=2)]
    assert rows == [[1, 2], [3], [1, 2], [3]]


def test_columns_come_by_name_whatever_their_order_and_whatever_else_there_is(
    tmp_path: Path, schema: DatasetSchema
) -> None:
    shuffled = {"extra": [1, 2, 3]} | {name: LOG[name] for name in reversed(LOG)}
    write_parquet(tmp_path / "events.parquet", shuffled)
    (span,) = open_table(str(tmp_path), "events", schema).spans
    (chunk,) = read_chunks(span)
    assert chunk.columns.column("item").to_pylist() == [1, 2, 3]
    assert "extra" not in chunk.columns.schema.names


def test_hidden_files_do_not_count(tmp_path: Path) -> None:
    for name in ("a.csv", "_b.csv", ".c.csv", "notes.txt"):
        write_csv(tmp_path / "items" / name, ITEM_ROWS)
    assert [Path(meta.path).name for meta in find_files(str(tmp_path), "items")] == ["a.csv"]


def test_empty_files_are_named_and_need_no_columns(tmp_path: Path, schema: DatasetSchema) -> None:
    folder = tmp_path / "events"
    write_parquet(folder / "full.parquet", LOG)
    whole = pq.read_table(folder / "full.parquet")
    pq.write_table(whole.slice(0, 0), folder / "no_rows.parquet")
    (folder / "zero.parquet").touch()
    (folder / "zero.csv").touch()
    (folder / "blank.csv").write_text("\n\n")
    table = open_table(str(tmp_path), "events", schema)
    assert [Path(path).name for path in table.empty_files] == [
        "blank.csv",
        "no_rows.parquet",
        "zero.csv",
        "zero.parquet",
    ]
    assert len(table.spans) == 1


def test_no_files(tmp_path: Path, schema: DatasetSchema) -> None:
    with pytest.raises(RawDataError, match=r"no events table in .*expected events/\*\.parquet"):
        open_table(str(tmp_path), "events", schema)


def test_a_folder_and_a_file_are_ambiguous(tmp_path: Path, schema: DatasetSchema) -> None:
    write_parquet(tmp_path / "events" / "a.parquet", LOG)
    write_parquet(tmp_path / "events.parquet", LOG)
    with pytest.raises(RawDataError, match="more than one events table"):
        open_table(str(tmp_path), "events", schema)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_missing_column_names_file_and_column(tmp_path: Path, schema: DatasetSchema, kind: str) -> None:
    less = {name: values for name, values in LOG.items() if name != "click"}
    path = tmp_path / "events" / f"day.{kind}"
    write_parquet(path, less) if kind == "parquet" else write_csv(path, less)
    with pytest.raises(RawDataError, match=rf"day\.{kind}: column 'click' \(label.*is missing"):
        open_table(str(tmp_path), "events", schema)


def test_a_csv_column_that_occurs_twice(tmp_path: Path, schema: DatasetSchema) -> None:
    path = tmp_path / "events.csv"
    path.write_text(",".join([*LOG, "click"]) + "\n")
    with pytest.raises(RawDataError, match=r"column 'click'.*occurs more than once"):
        open_table(str(tmp_path), "events", schema)


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("user", ["a", "b", "c"], "string, expected integers"),
        ("item", [1.0, 2.0, 3.0], "double, expected integers"),
        ("time", ["2020", "2021", "2022"], r"string, expected integers \(milliseconds\) or timestamps"),
        ("play", ["a", "b", "c"], "string, expected numbers"),
        ("mood", [1, 2, 3], "int64, expected strings"),
    ],
)
def test_a_column_of_the_wrong_type(
    tmp_path: Path, schema: DatasetSchema, column: str, values: list[object], expected: str
) -> None:
    write_parquet(tmp_path / "events" / "day.parquet", LOG | {column: values})
    with pytest.raises(RawDataError, match=rf"day\.parquet: column '{column}' has type {expected}.*events\.pbtxt"):
        open_table(str(tmp_path), "events", schema)


def test_kindred_types_are_read(tmp_path: Path, schema: DatasetSchema) -> None:
    table = pa.table({name: list(values) for name, values in LOG.items()})
    kindred = {"user": pa.int32(), "time": pa.timestamp("ms"), "click": pa.bool_(), "play": pa.float64()}
    for name, dtype in kindred.items():
        table = table.set_column(table.schema.names.index(name), name, table[name].cast(dtype))
    table = table.set_column(table.schema.names.index("mood"), "mood", table["mood"].dictionary_encode())
    (tmp_path / "events").mkdir()
    pq.write_table(table, tmp_path / "events" / "day.parquet")
    assert open_table(str(tmp_path), "events", schema).parquet_rows == 3


@pytest.mark.parametrize("name", ["day.parquet", "day.csv"])
def test_a_file_of_noise(tmp_path: Path, schema: DatasetSchema, name: str) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / name).write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(RawDataError, match=name):
        open_table(str(tmp_path), "events", schema)


def test_damage_inside_a_row_group(tmp_path: Path, schema: DatasetSchema) -> None:
    path = tmp_path / "events" / "day.parquet"
    write_parquet(path, LOG)
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    (span,) = open_table(str(tmp_path), "events", schema).spans
    with pytest.raises(RawDataError, match=r"day\.parquet: row group 0 is damaged"):
        list(read_chunks(span))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_header_that_is_not_utf8(tmp_path: Path, schema: DatasetSchema, encoding: str) -> None:
    (tmp_path / "events.csv").write_text(",".join([*LOG, "größe"]) + "\n", encoding=encoding)
    with pytest.raises(RawDataError, match=r"events\.csv: the header is not UTF-8"):
        open_table(str(tmp_path), "events", schema)


def test_a_header_with_blank_lines_quotes_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbf\n\r\na,"b ""c""\nd",\xc3\xa4\r\n\xff,1,2\n')
    assert csv_header(str(path)) == ["a", 'b "c"\nd', "ä"]


@pytest.mark.parametrize("reading", ["csv_header(path)", "next(read_chunks(Span(path, 0, None, 1, ('user',))))"])
def test_a_file_left_half_read_lets_the_interpreter_end(tmp_path: Path, reading: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item\n" + "1,2\n" * 12_000_000)
    program = f"from pipelines.readers import Span, csv_header, read_chunks\npath = {str(path)!r}\n{reading}\n"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
