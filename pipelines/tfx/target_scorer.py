"""`TargetScorer`: scores the held-out targets with the servable and, for comparison, with the last blessed one."""

import apache_beam as beam
from apache_beam.io.tfrecordio import ReadFromTFRecord, WriteToTFRecord
from tfx import v1 as tfx
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import Examples, Model

from pipelines.scoring import ScoreExamples
from pipelines.tfx.files import servable_path, split_files

PREDICTION = "prediction"
BASELINE_PREDICTION = "baseline_prediction"
EVALUATED_SPLIT = "eval"
SCORED_SPLITS = (EVALUATED_SPLIT, "test")


@tfx.dsl.components.component(use_beam=True)
def TargetScorer(  # noqa: N802
    examples: tfx.dsl.components.InputArtifact[Examples],
    servable: tfx.dsl.components.InputArtifact[Model],
    code_fingerprint: tfx.dsl.components.Parameter[str],
    scores: tfx.dsl.components.OutputArtifact[Examples],
    baseline: tfx.dsl.components.InputArtifact[Model] = None,
    beam_pipeline: tfx.dsl.components.BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Writes one small Example per user: labels and predictions of its targets.

    The evaluation reads these instead of the per-user Examples, whose histories would pass through it once per model
    and slice for nothing.

    Args:
        examples: Per-user Examples, splits `eval` and `test`.
        servable: The assembled servable: what is judged is what would be served.
        code_fingerprint: Nothing but a part of the cache key.
        scores: See `pipelines.scoring.ScoreExamples`; features `prediction` and, with a baseline,
            `baseline_prediction`.
        baseline: The last blessed servable, if there is one.
        beam_pipeline: The Beam pipeline to run in.
    """
    servables = {PREDICTION: str(servable_path(servable))}
    if baseline:
        servables[BASELINE_PREDICTION] = str(servable_path(baseline))
    with beam_pipeline as pipeline:
        # One step for all splits, so that each servable is loaded once.
        scored = (
            [_read(pipeline, split, artifact_utils.get_split_uri([examples], split)) for split in SCORED_SPLITS]
            | "Flatten" >> beam.Flatten()
            | "Score" >> ScoreExamples(servables)
        )
        for split in SCORED_SPLITS:
            _write(scored, split, f"{scores.uri}/Split-{split}/scores")
    scores.split_names = artifact_utils.encode_split_names(list(SCORED_SPLITS))
    for split in SCORED_SPLITS:
        _require_all(split, split_files(examples, split), split_files(scores, split))


def _read(pipeline: beam.Pipeline, split: str, folder: str) -> beam.PCollection:
    return (
        pipeline
        | f"Read[{split}]" >> ReadFromTFRecord(f"{folder}/*.gz")
        | f"Key[{split}]" >> beam.Map(lambda serialized: (split, serialized))
    )


def _write(scored: beam.PCollection, split: str, prefix: str) -> None:
    _ = (
        scored
        | f"Only[{split}]" >> beam.Filter(lambda keyed: keyed[0] == split)
        | f"Values[{split}]" >> beam.Values()
        | f"Write[{split}]" >> WriteToTFRecord(prefix, file_name_suffix=".gz", num_shards=1)
    )


def _require_all(split: str, examples: list[str], scores: list[str]) -> None:
    """Raises RuntimeError unless every target has its score: a sink that wrote nothing must not pass for success."""
    read, written = _count(examples, "target/label"), _count(scores, "label")
    if read != written:
        raise RuntimeError(f"split {split!r}: {read} targets, but scores of {written}")


def _count(files: list[str], feature: str) -> int:
    import tensorflow as tf

    spec = {feature: tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True)}
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    return sum(int(tf.size(tf.io.parse_single_example(record, spec)[feature])) for record in records)
