"""Scores per-user Examples with servables: a Beam step whose output is small, for whatever evaluates it."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from apache_beam.utils.shared import Shared

from pipelines.examples import Values, encode_example

_SIGNATURE = "serve_examples"
_BATCH = 4
HISTORY_LENGTHS = (100, 1_000, 10_000)
"""Borders of the history length slices."""


class ScoreExamples(beam.PTransform):  # type: ignore[misc]
    """PCollection of (split, serialized per-user Example) -> (split, serialized tf.Example with scores).

    One Example per user and split, whose targets may be in several Examples of clustered histories, with `user_id`,
    `history_length` (the slice, as text) and, per target, `item_id`, `label` and one float list for each servable.

    Args:
        servables: Output feature -> SavedModel directory, whose `serve_examples` does the work.
    """

    def __init__(self, servables: Mapping[str, str]) -> None:
        super().__init__()
        self._servables = dict(servables)

    def expand(self, examples: beam.PCollection) -> beam.PCollection:
        return (
            examples
            | "Batch" >> beam.BatchElements(min_batch_size=1, max_batch_size=_BATCH)
            | "Score" >> beam.ParDo(_Score(self._servables))
            | "OfUser" >> beam.GroupByKey()
            | "Join" >> beam.MapTuple(lambda of, parts: (of[0], _joined(parts, ["item_id", "label", *self._servables])))
        )


class _Score(beam.DoFn):  # type: ignore[misc]
    def __init__(self, servables: Mapping[str, str]) -> None:
        self._servables = dict(servables)
        self._shared = {name: Shared() for name in servables}

    def setup(self) -> None:
        import tensorflow as tf

        self._loaded = {
            name: self._shared[name].acquire(functools.partial(tf.saved_model.load, path), tag=path)
            for name, path in self._servables.items()
        }

    def process(self, batch: Sequence[tuple[str, bytes]]) -> Iterator[tuple[tuple[str, bytes], tuple[int, bytes]]]:
        import tensorflow as tf

        examples = tf.constant([serialized for _, serialized in batch])
        scores = {
            name: loaded.signatures[_SIGNATURE](examples=examples)["pctr"].numpy()
            for name, loaded in self._loaded.items()
        }
        for row, (split, serialized) in enumerate(batch):
            feature = tf.train.Example.FromString(serialized).features.feature
            label = np.asarray(feature["target/label"].float_list.value, np.float32)
            user = feature["user_id"].bytes_list.value[0]
            result: dict[str, Values] = {
                "user_id": pa.array([user], pa.binary()),
                "history_length": pa.array([length_slice(_seen_first(feature))], pa.binary()),
                "item_id": np.asarray(feature["target/item_id"].int64_list.value, np.int64),
                "label": label,
            }
            result |= {name: values[row, : len(label)] for name, values in scores.items()}
            yield (split, user), (feature["target/timestamp"].int64_list.value[0], encode_example(result))


def _seen_first(feature: Mapping[str, Any]) -> int:
    """Behaviours that the first target of a per-user Example sees, those in clusters counted."""
    entries = feature["target/history_end"].int64_list.value[0]
    sizes = feature["history/cluster_size"].int64_list.value if "history/cluster_size" in feature else None
    return sum(sizes[:entries]) if sizes else entries


def _joined(parts: Iterable[tuple[int, bytes]], per_target: Sequence[str]) -> bytes:
    """One user's scored Examples, each with the time of its first target, as one."""
    import tensorflow as tf

    first, *others = [tf.train.Example.FromString(record) for _, record in sorted(parts)]
    for other in others:
        for name in per_target:
            first.features.feature[name].MergeFrom(other.features.feature[name])  # lists are appended
    return bytes(first.SerializeToString(deterministic=True))


def length_slice(length: int) -> bytes:
    """The slice of a user whose first target sees `length` behaviours."""
    borders = (0, *HISTORY_LENGTHS)
    index = int(np.searchsorted(borders, length, side="right"))
    return (
        f"{borders[index - 1]}+".encode()
        if index == len(borders)
        else f"{borders[index - 1]}-{borders[index] - 1}".encode()
    )


def read_scores(files: Iterable[Path], prediction: str) -> dict[str, list[npt.NDArray[Any]]]:
    """Reads scored Examples: `label`, `item_id` and the named prediction, each a list of arrays [T], one per user."""
    import tensorflow as tf

    columns: dict[str, list[npt.NDArray[Any]]] = {"label": [], "item_id": [], prediction: []}
    dataset = tf.data.TFRecordDataset([str(file) for file in files], compression_type="GZIP")
    for serialized in dataset.as_numpy_iterator():
        feature = tf.train.Example.FromString(serialized).features.feature
        columns["label"].append(np.asarray(feature["label"].float_list.value, np.float32))
        columns["item_id"].append(np.asarray(feature["item_id"].int64_list.value, np.int64))
        columns[prediction].append(np.asarray(feature[prediction].float_list.value, np.float32))
    return columns
