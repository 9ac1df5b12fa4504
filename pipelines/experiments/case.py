"""`case`: one target, what each search unit retrieves and what attention then weighs (TWIN, Figures 7 and 8)."""

import datetime
from typing import Any

import numpy as np
import tensorflow as tf

from model.errors import UserError
from model.ranker import TwinRanker
from model.request import RawBatch
from pipelines.experiments.contenders import configure, title
from pipelines.experiments.items import describe_items
from pipelines.experiments.report import Block, Outcome, Table, Text
from pipelines.experiments.scored import user_windows
from pipelines.experiments.study import Study

SHOWN = 9
_NEW = 2**40  # more than any history's length


def case(study: Study) -> Outcome:
    """Shows the same target to every two-stage model."""
    study.display.expect(len(study.models) * (len(study.budget.rate_factors) + 1))
    request, about = _the_case(study)
    models, remarks = study.sound_models()
    values = {model: _case_cell(study, model, request) for model in models}
    ids = {about["item_id"]} | {r["item_id"] for v in values.values() for r in (*v["searched"], *v["weighed"])}
    texts = describe_items(study.data.data, study.data.schema, ids)
    blocks: list[Block] = [
        Text(
            f"The target: {texts.get(about['item_id'], about['item_id'])}; label {about['label']:.0f}, "
            f"{'not ' * about['seen']}new to the user in the {about['history']:,} behaviours that the models see."
        )
    ]
    verdicts = []
    for model in models:
        blocks += [_table(title(model), values[model], texts)]
        both = {r["position"] for r in values[model]["searched"]} & {r["position"] for r in values[model]["weighed"]}
        verdicts.append(
            f"{title(model)} gives the target {values[model]['pctr']:.3f}; of the {SHOWN} behaviours that weigh most "
            f"in its attention, {len(both)} are among the first {SHOWN} of its search."
        )
    return Outcome(
        verdicts, remarks, blocks, {"target": about, "models": values, "items": {str(k): v for k, v in texts.items()}}
    )


def _the_case(study: Study) -> tuple[dict[str, tf.Tensor], dict[str, Any]]:
    """The liked test target with the longest history, the first among equals, as a window of its own.

    Those come first whose item is not in the history: every search finds the item itself.
    """
    best, found = -1, None
    config = configure("twin", study.config)  # behaviours are shown, not clusters of them
    for batch in user_windows(study.data.files("test"), study.data.schema, config):
        liked = (batch["label"].numpy() > 0.5) & (batch["weight"].numpy() > 0)
        item, end = batch["candidate/item_id"].numpy(), batch["candidate/history_end"].numpy()[..., np.newaxis]
        past = batch["history/item_id"].numpy()[:, np.newaxis]  # [B, 1, behaviours of the window]
        place = np.arange(past.shape[2])
        seen = (place < end) & (place >= end - study.config.history_length)
        new = ~((past == item[..., np.newaxis]) & seen).any(axis=2)
        rank = np.where(liked, new * _NEW + seen.sum(axis=2), -1)
        if rank.max() > best:
            best = int(rank.max())
            user, at = np.unravel_index(rank.argmax(), rank.shape)
            found = {name: _only(name, values, int(user), int(at)) for name, values in batch.items() if name != "user"}
    if found is None:
        raise UserError("the test split has no target with label 1, so there is no case to show")
    about = {
        "item_id": int(found["candidate/item_id"][0, 0]),
        "timestamp": int(found["request/timestamp"][0, 0]),
        "label": float(found["label"][0, 0]),
        "seen": best < _NEW,
        "history": min(int(found["candidate/history_end"][0, 0]), study.config.history_length),
    }
    return found, about


def _only(name: str, values: tf.Tensor, user: int, target: int) -> tf.Tensor:
    of_target = name.startswith(("candidate/", "context/")) or name in ("request/timestamp", "label", "weight")
    return values[user : user + 1, target : target + 1] if of_target else values[user : user + 1]


def _case_cell(study: Study, model: str, request: RawBatch) -> dict[str, Any]:
    identity = study.identity_of(model, __name__, measured="case", shown=SHOWN)
    return study.cell(f"case-{model}", identity, lambda: _look(study.ranker(model), request))


def _look(ranker: TwinRanker, request: RawBatch) -> dict[str, Any]:
    logits, interest = ranker.score(dict(request))
    position = interest.position.numpy()[0, 0]  # [K], in the order of the search
    weight = interest.attended.attention.numpy()[0, 0].mean(axis=0)  # [K]
    found = np.flatnonzero(position >= 0)

    def row(at: int) -> dict[str, Any]:
        place = int(position[at])
        return {
            "position": place,
            "item_id": int(request["history/item_id"][0, place]),
            "timestamp": int(request["history/timestamp"][0, place]),
            "rank": int(at) + 1,
            "weight": float(weight[at]),
        }

    heaviest = found[np.argsort(-weight[found], kind="stable")]
    return {
        "pctr": float(tf.sigmoid(logits)[0, 0]),
        "retrieved": len(found),
        "searched": [row(at) for at in found[:SHOWN]],
        "weighed": [row(at) for at in heaviest[:SHOWN]],
    }


def _table(name: str, value: dict[str, Any], texts: dict[int, str]) -> Table:
    def show(row: dict[str, Any]) -> str:
        day = datetime.datetime.fromtimestamp(row["timestamp"] / 1e3, datetime.UTC).date().isoformat()
        return f"{texts.get(row['item_id'], row['item_id'])} ({day})"

    rows = [
        [at + 1, show(searched), f"{100 * searched['weight']:.1f} %", show(weighed), weighed["rank"],
         f"{100 * weighed['weight']:.1f} %"]
        for at, (searched, weighed) in enumerate(zip(value["searched"], value["weighed"], strict=True))
    ]  # fmt: skip
    header = ["", "first of the search", "its attention", "most attention", "its rank in the search", "attention"]
    return Table(f"{name}: {value['retrieved']} behaviours retrieved", header, rows, prose=True)
