"""The report of a preprocessing job: counts that reconcile."""

import dataclasses
import json

from model.errors import UserError
from pipelines.dead_letters import MEANINGS, DeadLetter, Reason
from pipelines.preprocess.split_config import SPLITS, SplitConfig

Letters = dict[tuple[str, str], tuple[int, DeadLetter]]
"""(table, reason) -> number of dead letters, and the first of them."""


class CountMismatchError(RuntimeError):
    """Counts that must agree do not: a fault in this program or its runner, never in the input."""


@dataclasses.dataclass(frozen=True)
class PreprocessReport:
    """What a job read and what became of it.

    Attributes:
        events: `read = target_train + target_eval + target_test + history_only + unused + dead_letters`.
        items: `read = catalog + dead_letters`.
        users: `read = kept + dead_letters`; and how many had no events, or events but no row here.
        examples: Number of training examples by split.
        lookups: Events of the train examples, each once; the sum of the catalog's frequencies.
        empty_files: Raw files without a row.
        dead_letters: (table, reason) -> count and first letter.
        split: The time ranges.
        seconds: Wall time.
    """

    events: dict[str, int]
    items: dict[str, int]
    users: dict[str, int]
    examples: dict[str, int]
    lookups: int
    empty_files: tuple[str, ...]
    dead_letters: Letters
    split: SplitConfig
    seconds: float

    def to_json(self) -> str:
        """The report as JSON."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["split"] = dataclasses.asdict(self.split)
        fields["dead_letters"] = [
            {"table": table, "reason": reason, "count": count, "first": dataclasses.asdict(first)}
            for (table, reason), (count, first) in sorted(self.dead_letters.items())
        ]
        return json.dumps(fields, indent=2) + "\n"


def build_report(
    counts: dict[str, int], letters: Letters, empty_files: tuple[str, ...], split: SplitConfig, seconds: float
) -> PreprocessReport:
    """Builds the report and checks that its counts reconcile.

    Raises:
        CountMismatchError: They do not.
    """
    dead = {table: sum(n for (t, _), (n, _) in letters.items() if t == table) for table in ("events", "items", "users")}
    outcomes = (*(f"target_{split_name}" for split_name in SPLITS), "history_only", "unused")
    events = {name: counts.get(name, 0) for name in outcomes} | {"dead_letters": dead["events"]}
    items = {"catalog": counts.get("catalog_items", 0), "dead_letters": dead["items"]}
    users = {"kept": counts.get("kept_users", 0), "dead_letters": dead["users"]}
    for table, parts in (("events", events), ("items", items), ("users", users)):
        require_equal(f"{table} read", counts.get(f"read_{table}", 0), f"their sum {parts}", sum(parts.values()))
    lookups = counts.get("lookups", 0)
    require_equal("item lookups in train", lookups, "the catalog's frequencies", counts.get("catalog_frequency", 0))
    extra = {name: counts.get(f"users_{name}", 0) for name in ("without_events", "without_features")}
    return PreprocessReport(
        events={"read": counts.get("read_events", 0)} | events,
        items={"read": counts.get("read_items", 0)} | items,
        users={"read": counts.get("read_users", 0)} | users | extra,
        examples={name: counts.get(f"examples_{name}", 0) for name in SPLITS},
        lookups=lookups,
        empty_files=empty_files,
        dead_letters=letters,
        split=split,
        seconds=round(seconds, 3),
    )


def require_equal(what: str, left: int, other: str, right: int) -> None:
    """Raises CountMismatchError unless two counts agree."""
    if left != right:
        raise CountMismatchError(f"internal error: {what}: {left}, but {other}: {right}; nothing was published")


def check_dead_letter_share(report: PreprocessReport, kept_in: str) -> None:
    """Stops the job when too much of a table is unusable.

    Raises:
        UserError: Naming the reasons, each with its first row.
    """
    limit = report.split.max_dead_letter_share
    for table, counts in (("events", report.events), ("items", report.items), ("users", report.users)):
        read, dead = counts["read"], counts["dead_letters"]
        if dead <= limit * read:
            continue
        lines = [
            f"  {reason}: {count:,} rows ({MEANINGS[Reason(reason)]}), first: {first.file}: row {first.row}, "
            f"column {first.column!r}: got {first.value!r}"
            for (t, reason), (count, first) in sorted(report.dead_letters.items(), key=lambda kv: -kv[1][0])
            if t == table
        ]
        raise UserError(
            f"{dead:,} of {read:,} rows of the {table} table are unusable ({dead / read:.1%}, allowed {limit:.1%}):\n"
            + "\n".join(lines)
            + f"\nAll of them are in {kept_in}. Mend the data, or allow a larger max_dead_letter_share."
        )


def check_not_empty(report: PreprocessReport, files: dict[str, tuple[str, ...]]) -> None:
    """Stops the job when a table has no row, or no event is a train target.

    Raises:
        UserError: Naming the files, or the split.
    """
    for table, counts in (("events", report.events), ("items", report.items)):
        if not counts["read"]:
            raise UserError(f"the {table} table has no rows; its files are all empty: {', '.join(files[table][:5])}")
    if not sum(report.examples.values()):
        raise UserError(
            f"no event lies in the target ranges of the split ({report.split}); of {report.events['read']:,} events "
            f"{report.events['history_only'] + report.events['unused']:,} lie before train_start_ms"
        )
    if not report.examples["train"]:
        start, end = report.split.range_of("train")
        targets = {name: report.events[f"target_{name}"] for name in SPLITS}
        raise UserError(
            f"the train split is empty: no event lies in its range [{start}, {end}) ms; targets by split: {targets}; "
            f"set train_start_ms and eval_start_ms apart ({report.split})"
        )
