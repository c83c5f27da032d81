"""Planned work, as docs/runbook.md has it: a plain stack taken over, every member replaced."""

from functools import partial

from tests.faults.ha import cluster
from tests.faults.ha.cluster import Cluster
from tests.faults.ha.strikes import ClusterFault, hand_over
from tests.support.stack import Stack


def take_over(stack: Stack) -> None:
    """`make down` and `make ha-up`: the clusters go on with the data of a plain stack."""
    stack.compose("down", "--remove-orphans")
    cluster.take_over(stack)


def replace_each(which: Cluster, stack: Stack) -> None:
    """Replace each member by a new container, the leader last and after it has handed over."""
    names = [cluster.name(one) for one in cluster.members(stack, which)]
    leader = cluster.leader(stack, which)
    for one in sorted(names, key=lambda name: name == leader):
        if one == leader and which != "etcd":
            hand_over(which, stack)
        replace(one, stack)


def replace_brokers(stack: Stack) -> None:
    """Replace each broker, drained before, once no queue needs it for its majority."""
    for one in cluster.members(stack, "rabbitmq"):
        cluster.done(one, "rabbitmq-upgrade", "await_online_quorum_plus_one")
        cluster.done(one, "rabbitmq-upgrade", "drain")
        replace(cluster.name(one), stack)
    cluster.done(stack.container("rabbitmq"), "rabbitmq-queues", "rebalance", "quorum")


def replace_sentinels(stack: Stack) -> None:
    """Replace each Sentinel."""
    for one in cluster.members(stack, "sentinel"):
        replace(cluster.name(one), stack)


def replace(name: str, stack: Stack) -> None:
    """Replace one member; the next one may go once all are there again."""
    stack.compose("up", "--detach", "--no-deps", "--wait", "--force-recreate", name)
    cluster.await_whole(stack)


TAKEN_OVER = ClusterFault("stack of compose.yaml", "taken over by clusters", take_over)
"""Only as the first: the run begins without clusters then."""
REPLACED = [
    ClusterFault("postgres", "each replaced", partial(replace_each, "postgres")),
    ClusterFault("etcd", "each replaced", partial(replace_each, "etcd")),
    ClusterFault("rabbitmq", "each replaced", replace_brokers),
    ClusterFault("keydb", "each replaced", partial(replace_each, "keydb")),
    ClusterFault("sentinel", "each replaced", replace_sentinels),
]
