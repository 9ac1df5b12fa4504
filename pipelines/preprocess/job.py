"""The preprocessing job: raw tables in, training examples, catalog and dead letters out."""

import dataclasses
import json
import time
from pathlib import Path

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from model.feature import Table
from model.schema import DatasetSchema
from pipelines.beam_options import in_process_by_default
from pipelines.dead_letters import DeadLetter, Reason, WriteDeadLetters, merge_summaries, summarise
from pipelines.job_files import (
    list_files,
    publish_files,
    read_lines,
    refuse_finished,
    user_errors,
    work_folder,
    write_examples,
    write_lines,
    write_text,
)
from pipelines.preprocess.catalog import KEYS, BuildCatalog, ParseItems, add_lookups, merge_keys
from pipelines.preprocess.events import COUNTS, LETTERS, ParseEvents
from pipelines.preprocess.report import (
    Letters,
    PreprocessReport,
    build_report,
    check_dead_letter_share,
    check_not_empty,
    require_equal,
)
from pipelines.preprocess.spill import partition_count
from pipelines.preprocess.split_config import SPLITS, SplitConfig
from pipelines.preprocess.users import LOOKUPS, BuildExamples, ParseUsers
from pipelines.readers import RawDataError, RawTable, open_table

_CATALOG_SHARD_BYTES = 32 << 20
_SPILL = "spill"


@dataclasses.dataclass(frozen=True)
class OutputPaths:
    """Where the job writes.

    Attributes:
        examples: Folder of `Split-train`, `Split-eval` and `Split-test`.
        catalog: Folder of `Split-catalog`.
        dead_letters: Folder of the dead letters' Parquet files.
        report: The report, a JSON file. Written last: where it is, the rest is complete.
    """

    examples: str
    catalog: str
    dead_letters: str
    report: str

    @classmethod
    def under(cls, folder: Path | str) -> "OutputPaths":
        """`examples/`, `catalog/`, `dead_letters/` and `report.json` in one folder."""
        names = ("examples", "catalog", "dead_letters", "report.json")
        return cls(*(FileSystems.join(str(folder), name) for name in names))


def preprocess(
    data: Path | str, schema: DatasetSchema, split: SplitConfig, out: OutputPaths, options: PipelineOptions
) -> PreprocessReport:
    """Makes one training example per user and split, the catalog and the dead letters from raw tables.

    Everything is written beside its place first and moved when all counts agree; the report comes last.

    Args:
        data: Folder of the raw tables, on any Beam filesystem.
        schema: The declared columns.
        split: The time ranges.
        out: Where the results go.
        options: Beam's options; an absent or direct runner runs in this process.

    Raises:
        UserError: Files or columns are missing, a table is empty, too many rows are unusable, nothing lies in the
            split, or `out` holds a finished run.
        CountMismatchError: The counts do not reconcile, or a sink did not write what it was given.
    """
    begin = time.monotonic()
    refuse_finished(out.report)
    names: tuple[Table, ...] = ("events", "items") if schema.user_key is None else ("events", "items", "users")
    tables = {name: open_table(str(data), name, schema) for name in names}
    with work_folder(out.examples, (*SPLITS, "catalog", "dead_letters", _SPILL)) as work:
        with user_errors(RawDataError), beam.Pipeline(options=in_process_by_default(options)) as pipeline:
            _build(pipeline, tables, schema, split, work)
        counts, letters = _read_counts(work)
        _check_written(work, tables, counts, letters)
        empty = tuple(path for table in tables.values() for path in table.empty_files)
        report = build_report(counts, letters, empty, split, time.monotonic() - begin)
        publish_files(FileSystems.join(work, "dead_letters"), out.dead_letters)
        check_not_empty(report, {name: table.files for name, table in tables.items()})
        check_dead_letter_share(report, out.dead_letters)
        for name in SPLITS:
            publish_files(FileSystems.join(work, name), FileSystems.join(out.examples, f"Split-{name}"))
        publish_files(FileSystems.join(work, "catalog"), FileSystems.join(out.catalog, "Split-catalog"))
        write_text(FileSystems.join(work, "report.json"), report.to_json())
        FileSystems.rename([FileSystems.join(work, "report.json")], [out.report])
    return report


def _build(
    pipeline: beam.Pipeline, tables: dict[Table, RawTable], schema: DatasetSchema, split: SplitConfig, work: str
) -> None:
    shards = 1 + tables["items"].bytes // _CATALOG_SHARD_BYTES
    spill = FileSystems.join(work, _SPILL)
    partitions = partition_count(table for name, table in tables.items() if name != "items")
    items = _spans(pipeline, tables["items"]) | "ParseItems" >> beam.ParDo(ParseItems(schema, shards)).with_outputs(
        KEYS, LETTERS, COUNTS, main="rows"
    )
    keys = items[KEYS] | "CatalogKeys" >> beam.CombineGlobally(merge_keys)
    events = _spans(pipeline, tables["events"]) | "ParseEvents" >> beam.ParDo(
        ParseEvents(schema, split.end_ms, spill, partitions), beam.pvalue.AsSingleton(keys)
    ).with_outputs(LETTERS, COUNTS, main="segments")
    sides = {"items": items, "events": events}
    if "users" in tables:
        users = _spans(pipeline, tables["users"]) | "ParseUsers" >> beam.ParDo(
            ParseUsers(schema, spill, partitions)
        ).with_outputs(LETTERS, COUNTS, main="segments")
        sides["users"] = users
        user_rows = users["segments"]
        user_files = tables["users"].files
    else:
        user_rows = pipeline | "NoUsers" >> beam.Create([])
        user_files = ()
    build = BuildExamples(schema, split, tables["events"].files, user_files, shards, spill)
    examples = (
        {"events": events["segments"], "users": user_rows}
        | "ByPartition" >> beam.CoGroupByKey()
        | "BuildExamples" >> beam.ParDo(build).with_outputs(*SPLITS, LOOKUPS, LETTERS, COUNTS)
    )
    lookups = examples[LOOKUPS] | "SumLookups" >> beam.CombinePerKey(add_lookups)
    catalog = (
        {"items": items["rows"], "lookups": lookups}
        | "ByShard" >> beam.CoGroupByKey()
        | "BuildCatalog"
        >> beam.ParDo(BuildCatalog(schema, tables["items"].files)).with_outputs(LETTERS, COUNTS, main="examples")
    )
    sides |= {"examples": examples, "catalog": catalog}
    written = [
        write_examples(examples[name], name, FileSystems.join(FileSystems.join(work, name), "data_tfrecord"))
        for name in SPLITS
    ]
    written.append(
        write_examples(
            catalog["examples"], "catalog", FileSystems.join(FileSystems.join(work, "catalog"), "data_tfrecord")
        )
    )
    # Written and counted before they are brought together: what a Flatten joins, a local runner holds in memory.
    for name, side in sides.items():
        _ = side[LETTERS] | f"WriteDeadLetters[{name}]" >> WriteDeadLetters(
            FileSystems.join(work, "dead_letters"), name
        )
    first = (
        [side[LETTERS] | f"Summarise[{name}]" >> beam.FlatMap(summarise) for name, side in sides.items()]
        | "AllSummaries" >> beam.Flatten()
        | "MergeSummaries" >> beam.CombinePerKey(merge_summaries)
        | "LetterLines" >> beam.Map(lambda kv: json.dumps([*kv[0], kv[1][0], dataclasses.asdict(kv[1][1])]))
    )
    counts = (
        [*(side[COUNTS] for side in sides.values()), *written]
        | "AllCounts" >> beam.Flatten()
        | "SumCounts" >> beam.CombinePerKey(sum)
        | "CountLines" >> beam.Map(json.dumps)
    )
    write_lines(counts, "Counts", FileSystems.join(work, "counts"))
    write_lines(first, "Letters", FileSystems.join(work, "letters"))


def _spans(pipeline: beam.Pipeline, table: RawTable) -> beam.PCollection:
    return (
        pipeline
        | f"Spans[{table.name}]" >> beam.Create(list(table.spans))
        | f"Spread[{table.name}]" >> beam.Reshuffle()
    )


def _read_counts(work: str) -> tuple[dict[str, int], Letters]:
    counts = {name: int(n) for name, n in read_lines(FileSystems.join(work, "counts"))}
    letters: Letters = {}
    for table, reason, count, first in read_lines(FileSystems.join(work, "letters")):
        letters[table, reason] = (count, DeadLetter(**first | {"reason": Reason(reason)}))
    return counts, letters


def _check_written(work: str, tables: dict[Table, RawTable], counts: dict[str, int], letters: Letters) -> None:
    """Compares what lies in the files with what the job counted."""
    if "written_catalog" not in counts:
        require_equal("count files written by the runner", 0, "expected", 1)
    for name in SPLITS:
        given = counts.get(f"examples_{name}", 0)
        require_equal(f"examples made for {name}", given, "records in its files", counts[f"written_{name}"])
        require_equal(
            f"files of {name} missing", int(not list_files(FileSystems.join(work, name) + "/*.gz")), "expected", 0
        )
    made = counts.get("catalog_items", 0)
    require_equal("catalog examples made", made, "records in its files", counts["written_catalog"])
    require_equal(
        "files of catalog missing", int(not list_files(FileSystems.join(work, "catalog") + "/*.gz")), "expected", 0
    )
    rows = 0
    for path in list_files(FileSystems.join(work, "dead_letters") + "/*.parquet"):
        with FileSystems.open(path) as file:
            rows += pq.ParquetFile(file).metadata.num_rows
    require_equal("dead letters", sum(n for n, _ in letters.values()), "rows in their files", rows)
    for name, table in tables.items():
        if not any(path.endswith(".csv") for path in table.files):
            read = counts.get(f"read_{name}", 0)
            require_equal(f"rows read of {name}", read, "rows after the Parquet footers", table.parquet_rows)
