"""What happens to clusters: leaders die, freeze, are cut off, hand over; members restart."""

import contextlib
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import redis
from docker.errors import APIError
from docker.models.containers import Container

from shared.errors import Unavailable
from tests.faults import addresses
from tests.faults.container_faults import cut_off, start
from tests.faults.fault import Struck
from tests.faults.ha import cluster
from tests.faults.ha.cluster import Cluster
from tests.support import containers
from tests.support.eventually import eventually
from tests.support.stack import Stack

TAKEN_OVER_S, RESTARTED_S = 90.0, 150.0
AFTERWARDS_S = 5.0
"""The old leader is let go only after the new one has led for so long: it must do no harm then."""
ETCD_AWAY_S = 15.0
GRACE_S = 60
MISSED = b"rabbit on node"
"""A broker's log has it of another one that is down."""

Act = Callable[[Stack], None]


@dataclass(frozen=True)
class ClusterFault:
    """One thing that happens to one cluster, or to several at once."""

    part: str
    name: str
    act: Act

    def strike(self, stack: Stack) -> Struck:
        """Do it, wait until another member leads, and heal it."""
        self.act(stack)
        return Struck(in_flight=True)


def end_process(which: Cluster, stack: Stack) -> None:
    """Kill the leader's server process; what watches over it stays."""
    victim = _leader(stack, which)
    cluster.done(victim, "bash", "-c", PROCESS_ENDED[which])


def kill(which: Cluster, stack: Stack) -> None:
    """Kill the leader's container; it comes back after another one leads."""
    victim = _leader(stack, which)
    victim.kill()
    try:
        _await_successor(stack, which, victim)
    finally:
        start([victim])


def freeze(which: Cluster, stack: Stack) -> None:
    """Freeze the leader until another one leads."""
    victim = _leader(stack, which)
    containers.freeze(victim)
    try:
        _await_successor(stack, which, victim)
    finally:
        victim.unpause()


def cut(which: Cluster, stack: Stack) -> None:
    """Cut the leader off from everybody until another one leads: it does not know."""
    victim = _leader(stack, which)
    with cut_off(stack, [victim]):
        _await_successor(stack, which, victim)


def cut_until_missed(stack: Stack) -> None:
    """Cut a broker off until it and the others miss each other: the worst moment to be back.

    It is no majority, and has not found that out.
    """
    victim = _leader(stack, "rabbitmq")
    since = datetime.now(UTC)
    with cut_off(stack, [victim]):
        for one in cluster.members(stack, "rabbitmq"):
            eventually(partial(_misses_another, one, since), TAKEN_OVER_S, pause_s=cluster.POLL_S)


def set_apart(stack: Stack) -> None:
    """Part a broker from the others, and have none of them heal it: it is restarted."""
    brokers = cluster.members(stack, "rabbitmq")
    for one in brokers:
        cluster.done(one, "rabbitmqctl", "eval", HEALS_NOT)
    victim = _leader(stack, "rabbitmq")
    cluster.done(victim, "rabbitmqctl", "eval", PARTED)
    eventually(lambda: _in_company(victim) == 1, TAKEN_OVER_S, pause_s=cluster.POLL_S)
    eventually(lambda: _in_company(victim) == cluster.SIZE, RESTARTED_S, pause_s=cluster.POLL_S)
    for one in brokers:
        cluster.done(one, "rabbitmqctl", "eval", HEALS)


def _in_company(broker: Container) -> int:
    """Return how many brokers one runs together with, itself among them; 0 while it is down."""
    with contextlib.suppress(APIError):
        ran = broker.exec_run(["rabbitmqctl", "--silent", "eval", COMPANY])
        found = re.match(rb"[0-9]+", ran.output) if isinstance(ran.output, bytes) else None
        return int(found[0]) if found and ran.exit_code == 0 else 0
    return 0


def _misses_another(broker: Container, since: datetime) -> bool:
    return MISSED in broker.logs(since=since)


def at_once(whiches: Sequence[Cluster], stack: Stack) -> None:
    """Kill the leaders of several clusters at the same moment."""
    victims = {one: _leader(stack, one) for one in whiches}
    for victim in victims.values():
        victim.kill()
    try:
        for which, victim in victims.items():
            _await_successor(stack, which, victim, afterwards_s=0.0)
        threading.Event().wait(AFTERWARDS_S)
    finally:
        start(list(victims.values()))


def restart_each(which: str, stack: Stack) -> None:
    """Restart each member, one after the other, each once all are there again."""
    for one in cluster.members(stack, which):
        one.restart(timeout=GRACE_S)
        cluster.await_whole(stack)


def switch_postgres(stack: Stack) -> None:
    """Have Patroni hand over, as an operator does."""
    old = _leader(stack, "postgres")
    switch = ["patronictl", "-c", "/dev/shm/patroni.yaml", "switchover", "--force"]  # noqa: S108
    cluster.done(old, *switch, "--leader", cluster.name(old), "minutebook")
    _await_successor(stack, "postgres", old)


def switch_keydb(stack: Stack) -> None:
    """Have the Sentinels hand over, as an operator does."""
    old = _leader(stack, "keydb")
    port = addresses.members(stack, "sentinel", addresses.SENTINEL_PORT)[0]
    with redis.Redis("127.0.0.1", port, socket_timeout=cluster.ANSWER_S) as sentinel:
        sentinel.execute_command("SENTINEL", "FAILOVER", "minutebook")
    _await_successor(stack, "keydb", old)


def switch_rabbitmq(stack: Stack) -> None:
    """Drain a broker, as an operator does before work on its machine, and take it back."""
    old = _leader(stack, "rabbitmq")
    cluster.done(old, "rabbitmq-upgrade", "drain")
    _await_successor(stack, "rabbitmq", old)
    cluster.done(old, "rabbitmq-upgrade", "revive")


def hand_over(which: Cluster, stack: Stack) -> None:
    """Have another member of Postgres or KeyDB lead."""
    {"postgres": switch_postgres, "keydb": switch_keydb}[which](stack)


HEALS_NOT = """
{ok, Kept} = application:get_env(rabbit, cluster_partition_handling),
application:set_env(rabbit, kept, Kept),
application:set_env(rabbit, cluster_partition_handling, ignore).
"""
# One that was restarted has read its configuration again.
HEALS = """
case application:get_env(rabbit, kept) of
  {ok, Kept} -> application:set_env(rabbit, cluster_partition_handling, Kept);
  undefined -> ok
end.
"""
PARTED = "lists:foreach(fun erlang:disconnect_node/1, nodes())."
COMPANY = "length(rabbit_mnesia:cluster_nodes(running))."

# -1 is all but the first process, which is the container's own init: its engine starts it again.
PROCESS_ENDED: dict[str, str] = {
    "postgres": 'kill -9 "$(head -n 1 "$PGDATA/cluster/postmaster.pid")"',
    "rabbitmq": "kill -9 -1",
    "keydb": "kill -9 -1",
}


def _leader(stack: Stack, which: Cluster) -> Container:
    """Return who leads, once somebody does: on a busy machine a leader may be slow to say so."""

    def probe() -> str:
        with contextlib.suppress(Unavailable):
            return cluster.leader(stack, which)
        return ""

    return stack.container(eventually(probe, TAKEN_OVER_S, pause_s=cluster.POLL_S))


def _await_successor(
    stack: Stack, which: Cluster, old: Container, *, afterwards_s: float = AFTERWARDS_S
) -> None:
    if which == "etcd":  # nobody outside need notice
        threading.Event().wait(ETCD_AWAY_S)
        return
    lead = partial(cluster.leads_another, stack, which, cluster.name(old))
    eventually(lead, TAKEN_OVER_S, pause_s=cluster.POLL_S / 4)
    threading.Event().wait(afterwards_s)


LED: tuple[Cluster, ...] = ("postgres", "rabbitmq", "keydb")
EACH_KILLED = ClusterFault("each cluster", "leader killed", partial(at_once, LED))
"""What `make test` strikes with: quicker than one by one, and harder."""
FAULTS = [
    *(ClusterFault(one, "leader's process died", partial(end_process, one)) for one in LED),
    *(ClusterFault(one, "leader killed", partial(kill, one)) for one in (*LED, "etcd")),
    *(ClusterFault(one, "leader frozen", partial(freeze, one)) for one in (*LED, "etcd")),
    *(ClusterFault(one, "leader cut off", partial(cut, one)) for one in (*LED, "etcd")),
    ClusterFault("rabbitmq", "leader cut off, and back once it is missed", cut_until_missed),
    ClusterFault("rabbitmq", "leader set apart, and not healed", set_apart),
    ClusterFault("postgres", "switched over", switch_postgres),
    ClusterFault("rabbitmq", "drained", switch_rabbitmq),
    ClusterFault("keydb", "switched over", switch_keydb),
    ClusterFault("postgres and rabbitmq", "killed at once", partial(at_once, LED[:2])),
    ClusterFault("postgres and etcd", "killed at once", partial(at_once, ("postgres", "etcd"))),
    ClusterFault("rabbitmq and keydb", "killed at once", partial(at_once, LED[1:])),
    *(
        ClusterFault(one, "each restarted", partial(restart_each, one))
        for one in (*LED, "etcd", "sentinel")
    ),
]
