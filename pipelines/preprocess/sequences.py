"""One user's events -> the user's training examples, one per split that has targets."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from model.schema import DatasetSchema
from pipelines.examples import Values
from pipelines.preprocess.event_columns import BEHAVIOUR_BIT, LABEL_BIT, Events, take
from pipelines.preprocess.split_config import SPLITS, SplitConfig

Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Sequences:
    """What became of one user's events.

    Attributes:
        examples: Split -> feature name -> values; only splits with targets.
        train_lookups: int64, the items of the train example's events, each event once: behaviours before the training
            range, then targets.
        counts: `target_<split>`, `history_only` and `unused` -> events; they sum to the events given.
    """

    examples: dict[str, dict[str, Values]]
    train_lookups: Ints
    counts: dict[str, int]


def drop_duplicates(events: Events) -> tuple[Events, Events]:
    """Sorts one user's events by time (then file and row) and takes out repetitions of (item, timestamp).

    Returns:
        The events kept, in time order, and the repetitions; of equal ones the first by file and row is kept.
    """
    ordered = events.take(np.lexsort((events.row, events.file, events.time)))
    same_time = ordered.time[1:] == ordered.time[:-1]
    if not same_time.any():
        return ordered, ordered.take(np.zeros(0, np.int64))
    # Stable: among equal (time, item) the order by file and row stays.
    by_item = np.lexsort((ordered.item, ordered.time))
    item, time = ordered.item[by_item], ordered.time[by_item]
    repeated = np.zeros(len(by_item), bool)
    repeated[by_item[1:]] = (item[1:] == item[:-1]) & (time[1:] == time[:-1])
    return ordered.take(np.flatnonzero(~repeated)), ordered.take(np.flatnonzero(repeated))


def build_sequences(events: Events, schema: DatasetSchema, split: SplitConfig) -> Sequences:
    """Cuts one user's events into histories and targets.

    The history of a split holds all behaviours with timestamp < the split's end, oldest first. Target t sees its first
    `history_end[t]` entries: those with timestamp < t's timestamp - feedback delay.

    Args:
        events: E events in time order, without duplicates, none at or after the end of the test split.
        schema: Names the cross and context features.
        split: The time ranges.
    """
    behaviour = (events.flags & BEHAVIOUR_BIT) != 0
    history_index = np.flatnonzero(behaviour)
    history_time = events.time[history_index]
    history: dict[str, Values] = {"history/item_id": events.item[history_index], "history/timestamp": history_time}
    for feature in schema.cross:
        history[f"history/{feature.name}"] = take(events.features[feature.name], history_index)
    examples: dict[str, dict[str, Values]] = {}
    counts: dict[str, int] = {}
    train_lookups = np.zeros(0, np.int64)
    for name in SPLITS:
        start, end = split.range_of(name)
        first, last = np.searchsorted(events.time, (start, end), side="left").tolist()
        counts[f"target_{name}"] = last - first
        if first == last:
            continue
        length = int(np.searchsorted(history_time, end, side="left"))
        example = {key: _slice(values, 0, length) for key, values in history.items()}
        example |= _targets(events, schema, first, last)
        visible_before = events.time[first:last] - split.feedback_delay_ms
        example["target/history_end"] = np.searchsorted(history_time, visible_before, side="left").astype(np.int64)
        examples[name] = example
        if name == "train":
            # Each event once. Counting history plus targets would count those targets twice that became behaviours, and
            # so carry what came of a target into whether its item keeps an embedding.
            earlier = int(np.searchsorted(history_time, start, side="left"))
            train_lookups = np.concatenate([history["history/item_id"][:earlier], events.item[first:last]])
    before = int(np.searchsorted(events.time, split.train_start_ms, side="left"))
    counts["history_only"] = int(behaviour[:before].sum())
    counts["unused"] = before - counts["history_only"]
    return Sequences(examples, train_lookups, counts)


def _targets(events: Events, schema: DatasetSchema, first: int, last: int) -> dict[str, Values]:
    label = ((events.flags[first:last] & LABEL_BIT) != 0).astype(np.float32)
    targets: dict[str, Values] = {
        "target/item_id": events.item[first:last],
        "target/timestamp": events.time[first:last],
        "target/label": label,
    }
    for feature in schema.context:
        targets[f"target/{feature.name}"] = _slice(events.features[feature.name], first, last)
    return targets


def _slice(values: Values, first: int, last: int) -> Values:
    return values.slice(first, last - first) if isinstance(values, pa.Array) else values[first:last]
