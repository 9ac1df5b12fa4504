"""SIM Cluster+: SIM Cluster with more clusters (TWIN, section 4.2)."""

from model.rivals.sim_cluster import SimCluster


class SimClusterPlus(SimCluster):
    """SIM Cluster refined to 10,000 clusters: `search["cluster"]` holds 1 to 10,000."""

    clusters = 10_000
