"""Starting a training from the weights of an earlier servable."""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.encoders import Encoders, Vocabulary
from model.errors import UserError
from model.export import EXTRA
from model.ranker import TwinRanker


class WarmStartError(UserError):
    """The earlier servable does not fit the new configuration."""


def known_ids_of(servable: Path) -> np.ndarray:
    """int64 [V], the item ids of a servable's embedding rows 1, 2, ..."""
    return np.load(servable / EXTRA / "known_ids.npy", allow_pickle=False)


def why_cold(servable: Path, train_start_ms: int, eval_start_ms: int) -> str | None:
    """Why a training must not start from a servable, or None if it may.

    The rule: the servable's training targets all lie before `train_start_ms`. So no target is learned twice, and none
    of the evaluation or test targets, which lie later still, was ever learned. By the rule a chain of warm starts goes
    forward in time alone, and the last link's `trained_before_ms` holds for the whole chain.

    Args:
        servable: The earlier servable; `trained_before_ms` of its `twin.json` counts.
        train_start_ms: Begin of this training's targets.
        eval_start_ms: Their end, where evaluation begins.
    """
    before = json.loads((servable / EXTRA / "twin.json").read_text()).get("trained_before_ms")
    if before is None:
        return "the last blessed model does not say up to when it was trained"
    if before <= train_start_ms:
        return None
    trained = f"the last blessed model was trained on targets up to {_date(before)}"
    if before > eval_start_ms:
        return f"{trained}, this eval split starts at {_date(eval_start_ms)}"
    return f"{trained}, this train split starts at {_date(train_start_ms)}: it would learn the targets between twice"


def _date(time_ms: int) -> str:
    since_1970 = datetime.timedelta(milliseconds=time_ms)
    return f"{datetime.datetime(1970, 1, 1) + since_1970:%Y-%m-%d %H:%M:%S} UTC"


def warm_start(ranker: TwinRanker, encoders: Encoders, servable: Path) -> None:
    """Copies the weights of `servable` into a new ranker.

    Rows of embeddings move with their value: a value that both vocabularies hold keeps its embedding, a new one keeps
    its fresh initial weights. Item ids keep their rows because `read_catalog` numbers known ids first. Bucketised
    features keep the embedding of the bucket of the same number. Optimiser slots start anew.

    Raises:
        WarmStartError: If a dense weight has another shape than in `servable`, or the features differ.
    """
    old = tf.saved_model.load(str(servable))
    old_encoders = Encoders.load(servable / EXTRA / "encoders.json")
    new_dense = ranker.dense_variables()
    if [v.shape for v in old.dense] != [v.shape for v in new_dense]:
        raise WarmStartError(f"{servable}: its dense weights have other shapes; train without a warm start")
    for new, weights in zip(new_dense, old.dense, strict=True):
        new.assign(weights)
    for name, table in ranker.embeddings_by_name().items():
        if name not in old.embeddings:
            raise WarmStartError(f"{servable}: it has no embedding {name!r}; train without a warm start")
        old_values, values = old.embeddings[name].numpy(), table.numpy()
        before, after = _rows(old_encoders, encoders, name.removeprefix("auxiliary/"), len(old_values), len(values))
        values[after] = old_values[before]
        table.assign(values)


def _rows(old: Encoders, new: Encoders, name: str, old_rows: int, new_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Embedding rows of the old table and where they go in the new one."""
    if not isinstance(new.features.get(name), Vocabulary):
        shared = np.arange(min(old_rows, new_rows))
        return shared, shared
    old_values, new_values = _values(old, name), _values(new, name)
    position = {value: row for row, value in enumerate(old_values)}
    pairs = [(position[value], row) for row, value in enumerate(new_values) if value in position]
    before, after = np.array([(0, 0), (1, 1), *((b + 2, a + 2) for b, a in pairs)]).T
    return before, after


def _values(encoders: Encoders, name: str) -> Sequence[int] | Sequence[str]:
    statistics = encoders.features.get(name)
    return statistics.values if isinstance(statistics, Vocabulary) else ()
