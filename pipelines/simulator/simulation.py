"""Simulates a data set of short-video impressions whose true click probabilities are known."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.metrics import roc_auc_score

from model.errors import UserError
from model.schema import load_schema
from pipelines.dataset_folder import ROWS_PER_SHARD, ShardWriter, TimeSplit, new_dataset_folder, write_dataset_json
from pipelines.simulator.catalog import Feed, make_catalog
from pipelines.simulator.user import DAY_MS, HORIZON_DAYS, START_MS, UserLog, simulate_user

TARGET_SHARE = 0.3
SCHEMAS: dict[Feed, str] = {"recurring": "simulated", "fresh": "fresh_feed"}
MIN_ITEMS = 40


class SimulationError(UserError):
    """The simulation asked for is impossible."""


@dataclasses.dataclass(frozen=True)
class SimulationReport:
    """What was written.

    Attributes:
        out: The data set folder.
        users, items, events, behaviours: Counts of rows.
        targets: Events in each split's time range.
        click_rate: Share of clicks among all events.
        met_before: Share of events with an item that the user has met before.
        oracle: For `eval` and `test`: `auc` and `gauc` of the true probability against the sampled clicks: what no
            model can beat but by luck. None where the split has one class only.
    """

    out: Path
    users: int
    items: int
    events: int
    behaviours: int
    targets: dict[str, int]
    click_rate: float
    met_before: float
    oracle: dict[str, dict[str, float | None]]


class _Oracle:
    """Collects one split's true probabilities and clicks, user by user."""

    def __init__(self) -> None:
        self._probability: list[np.ndarray] = []
        self._click: list[np.ndarray] = []
        self._user_auc_sum = 0.0
        self._user_weight = 0

    def add(self, probability: np.ndarray, click: np.ndarray) -> None:
        self._probability.append(probability)
        self._click.append(click.astype(np.int8))
        if 0 < click.sum() < len(click):
            self._user_auc_sum += len(click) * float(roc_auc_score(click, probability))
            self._user_weight += len(click)

    def result(self) -> dict[str, float | None]:
        click = np.concatenate(self._click)
        both = 0 < click.sum() < len(click)
        return {
            "auc": float(roc_auc_score(click, np.concatenate(self._probability))) if both else None,
            "gauc": self._user_auc_sum / self._user_weight if self._user_weight else None,
        }


def simulate(
    out: Path,
    users: int = 200,
    events_per_user: int = 1_000,
    items: int = 5_000,
    seed: int = 0,
    targets: int | None = None,
    feed: Feed = "recurring",
    *,
    rows_per_shard: int = ROWS_PER_SHARD,
    overwrite: bool = False,
    on_user: Callable[[], None] = lambda: None,
) -> SimulationReport:
    """Writes a data set folder of schema `simulated`, or `fresh_feed`.

    The log covers 400 days. Its latest events are the targets: eval and test get a sixth of them each (by time), train
    the rest; earlier events are history only. An event is a behaviour if the item was played at all (about 85 %), so
    histories hold both liked and disliked items and the cross features tell them apart. The `events` table has one
    column more than the schema, `true_probability`.

    The recurring feed shows what it has shown: in a log of 13,000 events a user over 20,000 items 79 % of the events
    are of an item that the user has met. The fresh feed shows an item once as long as it can (10 % with 100,000 items;
    see `pipelines.simulator.exposure`), and its items are less telling (`pipelines.simulator.fresh_items`).

    Args:
        out: Folder to write; appears only when complete.
        users: Number of users.
        events_per_user: Mean number of events per user; single users have 0.5 to 1.5 times as many.
        items: Size of the catalog.
        seed: The same seed gives the same rows, whatever `rows_per_shard`.
        targets: About how many events are targets; by default 30 % of all.
        feed: `recurring` or `fresh`.
        rows_per_shard: Rows per Parquet file, which bounds the memory.
        overwrite: Whether to replace an existing data set folder.
        on_user: Called after every user, for a progress display.

    Raises:
        SimulationError: If a number is out of range.
        DatasetFolderError: If `out` exists or cannot be replaced.
    """
    _check(users, events_per_user, items, targets, feed)
    target_share = TARGET_SHARE if targets is None else targets / (users * events_per_user)
    catalog = make_catalog(items, seed, feed)
    borders = [_at_share(1 - target_share * rest) for rest in (1, 1 / 3, 1 / 6)]
    counts = dict.fromkeys(("train", "eval", "test"), 0)
    oracle = {"eval": _Oracle(), "test": _Oracle()}
    behaviours = clicks = items_met = end_ms = 0
    user_rows: list[dict[str, int | str]] = []
    with new_dataset_folder(out, overwrite) as folder:
        with ShardWriter(folder / "items") as writer:
            writer.write(catalog.to_table())
        with ShardWriter(folder / "events", rows_per_shard) as writer:
            for user in range(users):
                log = simulate_user(catalog, user, events_per_user, seed)
                writer.write(log.events)
                user_rows.append(log.features)
                behaviours += int(log.events["is_behaviour"].to_numpy().sum())
                clicks += int(log.click.sum())
                items_met += pc.count_distinct(log.events["item_id"]).as_py()
                end_ms = max(end_ms, int(log.timestamp[-1]) + 1)
                _add_targets(log, borders, counts, oracle)
                on_user()
            events = writer.rows
        with ShardWriter(folder / "users") as writer:
            writer.write(pa.Table.from_pylist(user_rows))
        best = {split: part.result() for split, part in oracle.items()}
        split = TimeSplit(borders[0], borders[1], borders[2], max(end_ms, borders[2]))
        settings = {"users": users, "events_per_user": events_per_user, "items": items, "seed": seed, "feed": feed}
        write_dataset_json(
            folder, load_schema(SCHEMAS[feed]), split, best, simulation=settings, events=events, targets=counts
        )
    met_before = 1 - items_met / events
    return SimulationReport(out, users, items, events, behaviours, counts, clicks / events, met_before, best)


def _check(users: int, events_per_user: int, items: int, targets: int | None, feed: str) -> None:
    if feed not in SCHEMAS:
        raise SimulationError(f"feed must be one of {', '.join(SCHEMAS)}, got {feed!r}")
    for name, value, least in (
        ("users", users, 1),
        ("events_per_user", events_per_user, 1),
        ("items", items, MIN_ITEMS),
    ):
        if value < least:
            raise SimulationError(f"{name} must be at least {least}, got {value}")
    if targets is not None and not 0 < targets <= users * events_per_user:
        raise SimulationError(
            f"targets must be between 1 and users x events_per_user = {users * events_per_user}, got {targets}"
        )


def _at_share(share: float) -> int:
    # Sessions start on all days but the last, evenly, so a share of time is a share of events.
    return START_MS + math.floor(share * (HORIZON_DAYS - 1) * DAY_MS)


def _add_targets(log: UserLog, borders: list[int], counts: dict[str, int], oracle: dict[str, _Oracle]) -> None:
    rows = [*np.searchsorted(log.timestamp, borders), len(log.timestamp)]
    for split, first, last in zip(counts, rows, rows[1:], strict=False):
        counts[split] += int(last - first)
        if split in oracle:
            oracle[split].add(log.true_probability[first:last], log.click[first:last])
