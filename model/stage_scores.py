"""How each stage of a two-stage model ranks a whole history (section 4.5)."""

import tensorflow as tf

from model.errors import UserError
from model.history import History
from model.ranker import TwinRanker
from model.relevance import Relevance
from model.request import RawBatch
from model.rivals.twin_raw_mhta import TwinRawMhta
from model.rivals.twin_without_consistency import TwinWithoutConsistency
from model.rivals.two_stage import TwoStage
from model.twin import TWIN


def stage_scores(ranker: TwinRanker, raw: RawBatch) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores of all behaviours by the search unit, and by the exact search unit.

    Args:
        ranker: A model that searches before it attends.
        raw: Windows or requests.

    Returns:
        float32 [B, h', N, L], h' = 1 where the search has one ranking, and float32 [B, h, N, L]; -inf is what must not
        be retrieved.

    Raises:
        UserError: If the model has no search.
    """
    history = ranker.request_encoder.history(raw)
    row = ranker.item_table.lookup(raw["candidate/item_id"])
    target = ranker.inherent(ranker.item_table.features(row))
    unit = ranker.long_term
    if isinstance(unit, TwinRawMhta):
        both = unit.relevance_of_history(unit.of_inherent.query(target), history)
        return both, both
    if not isinstance(unit, TWIN | TwoStage):
        raise UserError(f"interest {ranker.config.interest!r} has no search to look into")
    live = unit.relevance.project(ranker.inherent(ranker.item_table.features(history.row)))
    exact = _scores(unit.relevance, target, live, history)
    return _search_scores(ranker, target, history, row), exact


def _search_scores(ranker: TwinRanker, target: tf.Tensor, history: History, row: tf.Tensor) -> tf.Tensor:
    unit, stored = ranker.long_term, ranker.item_table.projections(history.row)
    if isinstance(unit, TwinWithoutConsistency):
        other = unit.auxiliary
        return _scores(other.relevance, other.esu.inherent(ranker.item_table.features(row)), stored, history)
    if isinstance(unit, TWIN):
        return _scores(unit.relevance, target, stored, history)
    return unit.scores(target, history, row)[:, tf.newaxis]


def _scores(relevance: Relevance, target: tf.Tensor, keys: tf.Tensor, history: History) -> tf.Tensor:
    """Eq. 6 of all behaviours."""
    return relevance.of_history(relevance.query(target), keys, history.bias(relevance.bias_tables()))
