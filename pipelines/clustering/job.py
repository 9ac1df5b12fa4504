"""The clustering of training Examples: per-user Examples of one split in, Examples of clustered histories out."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.tfrecordio import ReadAllFromTFRecord, WriteToTFRecord
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import TaggedOutput

from model.config import TwinConfig
from model.errors import UserError
from model.schema import DatasetSchema
from pipelines.beam_options import in_process_by_default
from pipelines.clustering.entries import Ints
from pipelines.clustering.example_columns import SIZE, ExampleColumns, ExampleError
from pipelines.clustering.examples import clustered_examples
from pipelines.clustering.report import ClusterReport, build_report
from pipelines.clustering.vectors import VectorsError, load_vectors
from pipelines.job_files import (
    list_files,
    publish_files,
    read_lines,
    refuse_finished,
    user_errors,
    work_folder,
    write_lines,
    write_text,
)

COUNTS = "counts"
EXAMPLES = "examples"
WORKER_ERRORS = (ExampleError, VectorsError)


def cluster_examples(
    pattern: str,
    vectors: Path | str,
    schema: DatasetSchema,
    config: TwinConfig,
    out: str,
    report: str,
    options: PipelineOptions,
) -> ClusterReport:
    """Turns per-user Examples of a split into Examples of clustered histories.

    They have the layout of the input and `history/cluster_size`; a user may have several. Everything is written beside
    its place, counted again from the files and moved when all counts agree; the report comes last.

    Args:
        pattern: The TFRecord files of one split, such as `.../Split-train/*.gz`, on any Beam filesystem.
        vectors: What `pipelines.clustering.vectors.save_vectors` wrote, on a path that all workers reach.
        schema: The data set's columns.
        config: `clustering`, `max_cluster_size`, `partition_exponent`, `completion_groups`, `recluster_after`,
            `short_term_length` and `seed`.
        out: Folder of the new files, `data_tfrecord-*.gz`, such as another artifact's `.../Split-train`.
        report: Path of the report, a JSON file.
        options: Beam's options; an absent or direct runner runs in this process.

    Raises:
        UserError: No file matches, there are no vectors, or `report` exists.
        ExampleError: An Example is not laid out as it must be.
        CountMismatchError: The counts do not reconcile, or a sink did not write what it was given.
    """
    begin = time.monotonic()
    refuse_finished(report)
    files = list_files(pattern)
    if not files:
        raise UserError(f"{pattern}: no such files; expected the TFRecord files of per-user Examples")
    check_vectors(str(vectors), schema)
    with work_folder(out, (EXAMPLES,)) as work:
        with user_errors(*WORKER_ERRORS), beam.Pipeline(options=in_process_by_default(options)) as pipeline:
            records = pipeline | "Files" >> beam.Create(files, reshuffle=True) | "Read" >> ReadAllFromTFRecord()
            step = beam.ParDo(ClusterExamples(str(vectors), schema, config))
            made = records | "Cluster" >> step.with_outputs(COUNTS, main="examples")
            write_and_count(made["examples"], [made[COUNTS]], work)
        result = build_report(read_counts(work), config.clustering, time.monotonic() - begin)
        publish_files(FileSystems.join(work, EXAMPLES), out)
        write_text(FileSystems.join(work, "report.json"), result.to_json())
        FileSystems.rename([FileSystems.join(work, "report.json")], [report])
    return result


def check_vectors(folder: str, schema: DatasetSchema) -> None:
    """Raises VectorsError unless the folder holds vectors, with durations where the schema has a `duration`."""
    if schema.duration is not None and load_vectors(folder).duration is None:
        raise VectorsError(
            f"{folder}: no duration.npy, which schema {schema.name!r} needs: it divides the time played by "
            f"{schema.duration.name!r}; add the durations of the items with `with_durations`"
        )


class ClusterExamples(beam.DoFn):  # type: ignore[misc]
    """Serialized per-user Examples -> serialized Examples of clustered histories. Tagged output: `counts`.

    Args:
        vectors: Folder of the item vectors.
        schema: The data set's columns.
        config: How to cluster.
    """

    def __init__(self, vectors: str, schema: DatasetSchema, config: TwinConfig) -> None:
        self._folder, self._schema, self._config = vectors, schema, config

    def setup(self) -> None:
        """Maps the vectors."""
        self._vectors = load_vectors(self._folder)

    def process(self, record: bytes) -> Iterator[Any]:
        """Clusters one user's history."""
        counts: Counter[str] = Counter(users=1)
        for example in clustered_examples(record, self._schema, self._config, self._vectors):
            counts.update(examples=1, targets=example.targets, behaviours=example.behaviours)
            counts.update(size_counts(example.history.size[: example.clusters]))
            counts["singles"] += len(example.history) - example.clusters
            yield example.record
        counts["targets_read"] = len(ExampleColumns(record).values("target/item_id", "int64"))
        for count in counts.items():
            yield TaggedOutput(COUNTS, count)


def size_counts(sizes: Ints) -> dict[str, int]:
    """How many clusters there are of each size: {"size_<n>": number}."""
    values, number = np.unique(sizes, return_counts=True)
    return {f"size_{n}": int(k) for n, k in zip(values.tolist(), number.tolist(), strict=True)}


def write_and_count(records: beam.PCollection, counts: Iterable[beam.PCollection], work: str) -> None:
    """Writes Examples to `work`, counts what lies in their files, and writes the sums of all (name, number) there."""
    written = (
        records
        | "Write" >> WriteToTFRecord(FileSystems.join(work, EXAMPLES, "data_tfrecord"), file_name_suffix=".gz")
        | "ReadBack" >> ReadAllFromTFRecord()
        | "CountWritten" >> beam.FlatMap(_written)
    )
    lines = (
        [*counts, written]
        | "AllCounts" >> beam.Flatten()
        | "SumCounts" >> beam.CombinePerKey(sum)
        | "CountLines" >> beam.Map(json.dumps)
    )
    write_lines(lines, "Counts", FileSystems.join(work, COUNTS))


def read_counts(work: str) -> Counter[str]:
    """What `write_and_count` counted."""
    return Counter({name: int(n) for name, n in read_lines(FileSystems.join(work, COUNTS))})


def _written(record: bytes) -> Iterator[tuple[str, int]]:
    example = ExampleColumns(record)
    size = example.values(SIZE, "int64")
    yield "written_examples", 1
    yield "written_entries", len(size)
    yield "written_behaviours", int(size.sum())
    yield "written_targets", len(example.values("target/item_id", "int64"))
