"""The reports of the clustering jobs: counts that reconcile."""

import dataclasses
import json
from collections import Counter

from pipelines.preprocess.report import require_equal


@dataclasses.dataclass(frozen=True)
class ClusterReport:
    """What became of the behaviours.

    Attributes:
        clustering: The method.
        users: Users read.
        examples: Examples written; a user may have several, and each has the user's whole history.
        targets: Targets, each in one Example.
        behaviours: Behaviours that the Examples' histories cover, `clustered + singles`; it is also the sum of
            `history/cluster_size` in the files.
        clustered: Those in clusters.
        singles: Those that stand for themselves, after the clusters.
        clusters: Number of clusters.
        compression: Clusters over clustered behaviours; None where nothing is clustered.
        mean_size, max_size: Members of a cluster; None where there is none.
        seconds: Wall time.
    """

    clustering: str
    users: int
    examples: int
    targets: int
    behaviours: int
    clustered: int
    singles: int
    clusters: int
    compression: float | None
    mean_size: float | None
    max_size: int | None
    seconds: float

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


@dataclasses.dataclass(frozen=True)
class ClusterSizes:
    """The clusters of a job; for the fields see `ClusterReport`."""

    clustered: int
    clusters: int
    compression: float | None
    mean_size: float | None
    max_size: int | None


def cluster_sizes(counts: Counter[str]) -> ClusterSizes:
    """Sums up `size_<n>`, the numbers of clusters of n members."""
    sizes = {int(name.removeprefix("size_")): n for name, n in counts.items() if name.startswith("size_")}
    clusters, clustered = sum(sizes.values()), sum(size * n for size, n in sizes.items())
    return ClusterSizes(
        clustered=clustered,
        clusters=clusters,
        compression=round(clusters / clustered, 4) if clustered else None,
        mean_size=round(clustered / clusters, 3) if clusters else None,
        max_size=max(sizes, default=None),
    )


def build_report(counts: Counter[str], clustering: str, seconds: float) -> ClusterReport:
    """Builds the report and checks that its counts reconcile.

    Raises:
        CountMismatchError: They do not.
    """
    sizes = cluster_sizes(counts)
    require_equal("targets read", counts["targets_read"], "in the Examples", counts["targets"])
    require_equal("targets made", counts["targets"], "in their files", counts["written_targets"])
    require_equal("Examples made", counts["examples"], "in their files", counts["written_examples"])
    require_equal(
        "behaviours covered", counts["behaviours"], "clustered and single", sizes.clustered + counts["singles"]
    )
    require_equal("behaviours covered", counts["behaviours"], "cluster sizes' sum", counts["written_behaviours"])
    require_equal(
        "clusters and singles", sizes.clusters + counts["singles"], "in their files", counts["written_entries"]
    )
    return ClusterReport(
        clustering=clustering,
        users=counts["users"],
        examples=counts["examples"],
        targets=counts["targets"],
        behaviours=counts["behaviours"],
        singles=counts["singles"],
        seconds=round(seconds, 3),
        **dataclasses.asdict(sizes),
    )
