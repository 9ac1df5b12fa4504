"""The clustering of whole lives: events or per-user Examples in, one clustered history a user out."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.tfrecordio import ReadAllFromTFRecord
from apache_beam.options.pipeline_options import PipelineOptions

from model.config import TwinConfig
from model.errors import UserError
from model.schema import DatasetSchema
from pipelines.beam_options import in_process_by_default
from pipelines.clustering.groups import grouping
from pipelines.clustering.job import (
    COUNTS,
    EXAMPLES,
    WORKER_ERRORS,
    check_vectors,
    read_counts,
    write_and_count,
)
from pipelines.clustering.life_report import LifeReport, build_life_report, check_share, letter_line, read_letters
from pipelines.clustering.life_steps import ClusterLives, SpillStates
from pipelines.dead_letters import WriteDeadLetters, merge_summaries, summarise
from pipelines.job_files import (
    check_records,
    list_files,
    publish_files,
    refuse_finished,
    user_errors,
    work_folder,
    write_lines,
    write_text,
)
from pipelines.preprocess.events import LETTERS, ParseEvents
from pipelines.preprocess.spill import PARTITION_BYTES, partition_count
from pipelines.readers import RawDataError, open_table

LIVES = "lives"
REPORT = "report.json"
DEAD_LETTERS = "dead_letters"
_SPILL = "spill"
_END_OF_TIME = 1 << 53
_GZIP_FACTOR = 4
"""How much larger than its compressed file a history is, about."""


@dataclasses.dataclass(frozen=True)
class LifeSource:
    """Where the behaviours come from: one of the two.

    Attributes:
        data: Folder of raw tables.
        examples: Folder of per-user Examples: `*.gz`, or `Split-*/*.gz`, whose histories are brought together.
    """

    data: str | None = None
    examples: str | None = None

    def __post_init__(self) -> None:
        """Raises UserError unless there is exactly one."""
        if (self.data is None) == (self.examples is None):
            raise UserError(f"expected raw tables or Examples, one of them, got {self.data} and {self.examples}")


def cluster_lives(
    source: LifeSource,
    vectors: Path | str,
    schema: DatasetSchema,
    config: TwinConfig,
    out: str,
    options: PipelineOptions,
    previous: str | None = None,
) -> LifeReport:
    """Clusters each user's life, or lets new behaviours join what an earlier run clustered.

    `<out>/lives/` holds one tf.Example a user: `user_id`, the history with `cluster_size`, and the state for a later
    run; `<out>/dead_letters/` the unusable events, `<out>/report.json` the counts, written last. Behaviours are
    brought together through files, so memory holds a partition of the users, or the longest life.

    Args:
        source: The behaviours: whole lives, or with `previous` also those since then alone.
        vectors: What `pipelines.clustering.vectors.save_vectors` wrote, on a path that all workers reach.
        schema: The declared columns.
        config: `clustering`, `max_cluster_size`, `partition_exponent`, `completion_groups`, `short_term_length`,
            `max_dead_letter_share` and `seed`.
        out: A folder on any Beam filesystem.
        options: Beam's options; an absent or direct runner runs in this process.
        previous: The `out` of an earlier run; its users are carried over, with new behaviours or without.

    Raises:
        UserError: Files or columns are missing or unreadable, too many events are unusable, the earlier run grouped
            otherwise, or `out` holds a finished run.
        ExampleError: An Example is not laid out as it must be.
        CountMismatchError: The counts do not reconcile, or a sink did not write what it was given.
    """
    begin = time.monotonic()
    report = FileSystems.join(out, REPORT)
    refuse_finished(report)
    check_vectors(str(vectors), schema)
    groups = grouping(schema, config)
    states = [] if previous is None else _earlier(previous, groups)
    with work_folder(FileSystems.join(out, LIVES), (EXAMPLES, DEAD_LETTERS, _SPILL)) as work:
        kinds = user_errors(*WORKER_ERRORS, RawDataError)
        with kinds, beam.Pipeline(options=in_process_by_default(options)) as pipeline:
            _build(pipeline, source, states, str(vectors), schema, config, work)
        letters = read_letters(work)
        seconds = time.monotonic() - begin
        result = build_life_report(read_counts(work), letters, config.clustering, groups, seconds)
        publish_files(FileSystems.join(work, DEAD_LETTERS), FileSystems.join(out, DEAD_LETTERS))
        check_share(result, letters, config.max_dead_letter_share, FileSystems.join(out, DEAD_LETTERS))
        publish_files(FileSystems.join(work, EXAMPLES), FileSystems.join(out, LIVES))
        write_text(FileSystems.join(work, REPORT), result.to_json())
        FileSystems.rename([FileSystems.join(work, REPORT)], [report])
    return result


def _build(
    pipeline: beam.Pipeline,
    source: LifeSource,
    states: list[str],
    vectors: str,
    schema: DatasetSchema,
    config: TwinConfig,
    work: str,
) -> None:
    spill = FileSystems.join(work, _SPILL)
    from_events = source.data is not None
    if source.data is not None:
        table = open_table(source.data, "events", schema)
        partitions = partition_count([table]) + _partitions(states)
        spans = pipeline | "Spans" >> beam.Create(list(table.spans), reshuffle=True)
        step = beam.ParDo(ParseEvents(schema, _END_OF_TIME, spill, partitions))
        lives = spans | "ParseEvents" >> step.with_outputs(LETTERS, COUNTS, main="segments")
        letters = lives[LETTERS]
    else:
        assert source.examples is not None
        files = _example_files(source.examples)
        partitions = 1 + _partitions(files + states)
        lives = _spilled(pipeline, "Lives", files, SpillStates(schema, spill, partitions, clustered=False))
        letters = pipeline | "NoLetters" >> beam.Create([])
    earlier = _spilled(pipeline, "Earlier", states, SpillStates(schema, spill, partitions, clustered=True))
    cluster = beam.ParDo(ClusterLives(vectors, schema, config, spill, from_events))
    made = (
        {"lives": lives["segments"], "earlier": earlier["segments"]}
        | "ByPartition" >> beam.CoGroupByKey()
        | "ClusterLives" >> cluster.with_outputs(COUNTS, main="examples")
    )
    _ = letters | "WriteDeadLetters" >> WriteDeadLetters(FileSystems.join(work, DEAD_LETTERS))
    lines = (
        letters
        | "Summarise" >> beam.FlatMap(summarise)
        | "MergeSummaries" >> beam.CombinePerKey(merge_summaries)
        | "LetterLines" >> beam.Map(letter_line)
    )
    write_lines(lines, "Letters", FileSystems.join(work, LETTERS))
    write_and_count(made["examples"], [lives[COUNTS], earlier[COUNTS], made[COUNTS]], work)


def _spilled(pipeline: beam.Pipeline, name: str, files: list[str], step: SpillStates) -> Any:
    return (
        pipeline
        | f"Files[{name}]" >> beam.Create(files, reshuffle=True)
        | f"Read[{name}]" >> ReadAllFromTFRecord()
        | f"Spill[{name}]" >> beam.ParDo(step).with_outputs(COUNTS, main="segments")
    )


def _earlier(folder: str, groups: str) -> list[str]:
    report = FileSystems.join(folder, REPORT)
    # A run that was killed while it moved its files may have left lives of some users alone.
    if not FileSystems.exists(report):
        raise UserError(f"{folder}: expected the folder of a finished run, got one without {REPORT}")
    with FileSystems.open(report) as file:
        earlier = json.load(file).get("grouping")
    if earlier != groups:
        raise UserError(
            f"{report}: the earlier run grouped behaviours {earlier!r}, this one would {groups!r}; give it the earlier "
            "run's configuration and schema, or leave out --previous to cluster all anew"
        )
    return list_files(FileSystems.join(folder, LIVES, "*.gz"))


def _example_files(folder: str) -> list[str]:
    patterns = [FileSystems.join(folder, "*.gz"), FileSystems.join(folder, "Split-*", "*.gz")]
    found = [path for pattern in patterns for path in list_files(pattern)]
    if not found:
        raise UserError(f"{folder}: expected per-user Examples: files *.gz or Split-*/*.gz, found none")
    for path in found:
        check_records(path)
    return found


def _partitions(files: list[str]) -> int:
    size = sum(int(FileSystems.match([file])[0].metadata_list[0].size_in_bytes) for file in files)
    return size * _GZIP_FACTOR // PARTITION_BYTES
