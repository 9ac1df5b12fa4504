"""The report of the clustering of whole lives: counts that reconcile."""

import dataclasses
import json
from collections import Counter
from typing import Any

from apache_beam.io.filesystems import FileSystems

from model.errors import UserError
from pipelines.clustering.report import cluster_sizes
from pipelines.dead_letters import DeadLetter, Reason
from pipelines.job_files import read_lines
from pipelines.preprocess.events import LETTERS
from pipelines.preprocess.report import require_equal

Letters = dict[str, tuple[int, DeadLetter]]
"""Reason -> number of dead letters, and the first of them."""


@dataclasses.dataclass(frozen=True)
class LifeReport:
    """What a run read and what became of it.

    Attributes:
        clustering: The method.
        grouping: How behaviours were grouped; a run that goes on from this one must group alike.
        read: Events read (of Examples: behaviours): `non_behaviours + dead_letters + duplicates + already_clustered +
            already_single + new`.
        non_behaviours: Events that do not enter the history.
        dead_letters: Unusable events.
        duplicates: Repetitions of a user's item and timestamp.
        already_clustered: Behaviours not after the time through which the earlier run had clustered.
        already_single: Behaviours that the earlier run kept single.
        new: Behaviours that are new.
        earlier: Behaviours of the earlier run.
        users: Users written, one Example each.
        carried_over: Those without an event in what was read.
        behaviours: All in the Examples: `new + earlier = clustered + singles`, the sum of `history/cluster_size`.
        clustered: Behaviours in clusters.
        singles: Behaviours that stand for themselves.
        clusters: Number of clusters.
        compression: Clusters over clustered behaviours; None where nothing is clustered.
        mean_size, max_size: Members of a cluster; None where there is none.
        dead_letters_by_reason: Number of each reason.
        seconds: Wall time.
    """

    clustering: str
    grouping: str
    read: int
    non_behaviours: int
    dead_letters: int
    duplicates: int
    already_clustered: int
    already_single: int
    new: int
    earlier: int
    users: int
    carried_over: int
    behaviours: int
    clustered: int
    singles: int
    clusters: int
    compression: float | None
    mean_size: float | None
    max_size: int | None
    dead_letters_by_reason: dict[str, int]
    seconds: float

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def build_life_report(
    counts: Counter[str], letters: Letters, clustering: str, grouping: str, seconds: float
) -> LifeReport:
    """Builds the report and checks that its counts reconcile.

    Raises:
        CountMismatchError: They do not.
    """
    dead = {reason: number for reason, (number, _) in letters.items()}
    names = ("non_behaviours", "duplicates", "already_clustered", "already_single", "new")
    outcomes = {name: counts[name] for name in names} | {"dead_letters": sum(dead.values())}
    read = counts["read_events"] + counts["read_behaviours"]
    sizes = cluster_sizes(counts)
    behaviours = sizes.clustered + counts["singles"]
    require_equal("behaviours read", read, f"their sum {outcomes}", sum(outcomes.values()))
    require_equal("earlier behaviours read", counts["read_earlier"], "taken up", counts["earlier"])
    require_equal("new and earlier", counts["new"] + counts["earlier"], "clustered and single", behaviours)
    require_equal("Examples made", counts["examples"], "in their files", counts["written_examples"])
    require_equal("clustered and single", behaviours, "cluster sizes' sum", counts["written_behaviours"])
    entries = sizes.clusters + counts["singles"]
    require_equal("clusters and singles", entries, "in their files", counts["written_entries"])
    return LifeReport(
        clustering=clustering,
        grouping=grouping,
        read=read,
        earlier=counts["earlier"],
        users=counts["examples"],
        carried_over=counts["carried_over"],
        behaviours=behaviours,
        singles=counts["singles"],
        dead_letters_by_reason=dead,
        seconds=round(seconds, 3),
        **outcomes,
        **dataclasses.asdict(sizes),
    )


def check_share(report: LifeReport, letters: Letters, limit: float, kept_in: str) -> None:
    """Stops the job when too many events are unusable.

    Raises:
        UserError: Naming the reasons, each with its first row.
    """
    if report.dead_letters <= limit * report.read:
        return
    lines = [f"  {reason}: {number:,} rows, first: {first}" for reason, (number, first) in letters.items()]
    raise UserError(
        f"{report.dead_letters:,} of {report.read:,} events are unusable ({report.dead_letters / report.read:.1%}, "
        f"allowed {limit:.1%}):\n"
        + "\n".join(lines)
        + f"\nAll of them are in {kept_in}. Mend the data, or allow a larger "
        "max_dead_letter_share."
    )


def letter_line(summary: tuple[tuple[str, str], Any]) -> str:
    """A `pipelines.dead_letters.Summary` as a line that `read_letters` reads."""
    (_, reason), (number, first) = summary
    return json.dumps([reason, number, dataclasses.asdict(first)])


def read_letters(work: str) -> Letters:
    """Reads the lines of `letter_line`."""
    lines = read_lines(FileSystems.join(work, LETTERS))
    return {reason: (number, DeadLetter(**first | {"reason": Reason(reason)})) for reason, number, first in lines}
