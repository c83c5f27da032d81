"""What `ops status` says to type next: what helps, what wakes, what comes first."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ops.deployment import OURS
from ops.status.core import assess
from ops.status.snapshot import ABSENT, CLOSED, SILENT, Down, Service
from shared.amqp.connection import BLOCKED, QueueState
from shared.amqp.ticks import QUEUE as TICK_QUEUE
from shared.health import NOT_BEGUN, NOT_CONNECTED, START
from tests.support.status_probes import ALL_HEALTHY, LEDGER, NOW, QUEUES, SHOWN, only, with_tick

PLAIN = replace(ALL_HEALTHY, composed=frozenset())


@pytest.mark.parametrize(
    ("problem", "remedy"),
    [
        ("postgres: 53100: could not extend file: No space left on device", "df -h"),
        (f"rabbitmq: {BLOCKED} (low on disk)", "diagnostics alarms"),
        ("postgres: OperationalError: session is read-only", "transaction_read_only"),
        ("postgres: OperationalError: password authentication failed", "Rotate credentials"),
        ("rabbitmq: host:5672 refuses the login (user ops, virtual host /)", "Rotate credentials"),
        ("no progress for 21.0 s", "logs --tail 50 ingest"),
    ],
)
def test_a_service_that_is_unhealthy_is_said_with_its_reason_and_what_helps(
    problem: str, remedy: str
) -> None:
    healthy = Service("ticker", "172.18.0.5:9102", {})
    unhealthy = Service("ingest", "172.18.0.6:9101", {"writer": problem})

    found = only(replace(ALL_HEALTHY, services=[healthy, unhealthy]))

    assert (found.level, found.about) == ("wrong", "ingest")
    assert problem in found.says
    assert remedy in found.do


def test_a_replica_that_makes_its_first_connections_is_a_note() -> None:
    parts = {"receiver": NOT_CONNECTED, "writer": NOT_CONNECTED}
    starting = [Service("ingest", "172.18.0.6:9101", one) for one in ({START: NOT_BEGUN}, parts)]
    refused = Service("ingest", "172.18.0.6:9101", parts | {"writer": "postgres: refused"})

    for one in starting:
        found = only(replace(ALL_HEALTHY, services=[one]))
        assert (found.level, found.about) == ("note", "ingest")
        assert found.says.startswith("is starting: ")
    assert only(replace(ALL_HEALTHY, services=[refused])).level == "wrong"


@pytest.mark.parametrize(
    ("problem", "first"),
    [
        ("postgres: 53100: No space left on device", "free space on Postgres's disk first"),
        (f"rabbitmq: {BLOCKED} (low on disk)", "free memory or disk of RabbitMQ first"),
    ],
)
def test_what_follows_from_a_shortage_that_one_service_names_says_so(
    problem: str, first: str
) -> None:
    short = Service("ticker", "172.18.0.5:9102", {"ticker": problem})
    late = Service("syncer", "172.18.0.7:9103", {"tick": "no progress for 34.8 s (limit 11 s)"})
    stopped = with_tick(boundary=NOW - timedelta(hours=1), published_at=None)
    piled_up = replace(QUEUES, transactions=QueueState("incoming", 22_005, 1))

    found = assess(replace(stopped, rabbitmq=piled_up, services=[short, late]))

    assert [one.do for one in found if one.about in ("syncer", "tick", "queue")] == [first] * 3


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ABSENT, "docker compose up -d ticker; "),
        (CLOSED, "docker compose logs --tail 50 ticker; "),
        (SILENT, "docker compose unpause ticker "),
        ("RemoteDisconnected", "docker compose up -d ticker; "),
    ],
)
def test_a_service_that_does_not_answer_is_woken_as_it_sleeps(error: str, remedy: str) -> None:
    gone = Service("ticker", "ticker:9102", {}, error)

    assert remedy in only(replace(ALL_HEALTHY, services=[gone])).do


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ABSENT, "start ticker; look at the log of ticker"),
        (CLOSED, "look at the log of ticker; start it again"),
        (SILENT, "see whether ticker runs; if it is paused, let it go on"),
    ],
)
def test_where_there_is_no_compose_the_same_is_said_in_plain_words(error: str, remedy: str) -> None:
    gone = Service("ticker", "ticker:9102", {}, error)

    assert only(replace(PLAIN, services=[gone])).do == remedy


def test_a_service_that_is_known_by_its_address_only_is_called_so() -> None:
    here = [
        Service("10.0.0.5", "10.0.0.5:9101", {}),
        Service("10.0.0.5", "10.0.0.5:9102", {}, CLOSED),
    ]

    for snapshot in (ALL_HEALTHY, PLAIN):
        found = only(replace(snapshot, services=here))

        assert found.about == "the service at 10.0.0.5:9102"
        assert found.do == "look at the log of the service at 10.0.0.5:9102; start it again"


def test_nothing_that_is_said_names_compose_where_there_is_none() -> None:
    full = Service("ingest", "ingest:9101", {"writer": "postgres: 53100: no", "r": f"{BLOCKED}"})
    unread = replace(
        QUEUES, transactions=QueueState("incoming", 5, 0), ticks=QueueState(TICK_QUEUE, 1, 0)
    )
    stopped = replace(with_tick(boundary=NOW - timedelta(hours=1)), composed=frozenset())
    piled_up = replace(QUEUES, transactions=QueueState("incoming", 5, 1))
    snapshots = [
        replace(PLAIN, postgres=Down("refused"), rabbitmq=Down("no"), keydb=Down("no")),
        replace(PLAIN, services=[full], keydb=replace(SHOWN, boundary=NOW - timedelta(hours=1))),
        replace(PLAIN, rabbitmq=unread),
        replace(PLAIN, rabbitmq=piled_up),
        replace(PLAIN, postgres=replace(LEDGER, schema=0, tick=None)),
        replace(stopped, rabbitmq=unread),
        stopped,
    ]

    found = [one.do for snapshot in snapshots for one in assess(snapshot)]

    assert len(found) > 10
    assert [do for do in found if "docker" in do] == []
    assert "df -h   (on the machine of postgres)" in " ".join(found)


def test_a_server_that_compose_does_not_run_is_not_looked_for_there() -> None:
    mixed = replace(ALL_HEALTHY, composed=OURS, postgres=Down("refused"))

    assert only(mixed).do.startswith("see whether postgres runs and can be reached from here; ")


def test_a_service_that_is_missed_is_woken_by_the_command_that_wakes_it() -> None:
    frozen = [Service(name, "172.18.0.5:9101", {}, SILENT) for name in ("ingest", "syncer")]
    unread = replace(
        QUEUES,
        transactions=QueueState("incoming", 5, 0),
        ticks=QueueState(TICK_QUEUE, 1, 0),
    )
    stopped = with_tick(boundary=NOW - timedelta(hours=1), published_at=None)

    found = assess(replace(stopped, rabbitmq=unread, services=frozen))

    assert {one.about for one in found} == {"ingest", "syncer", "tick", "queue"}
    assert [one.do for one in found if "unpause" not in one.do] == []


def test_what_only_follows_from_a_server_that_is_down_says_to_bring_that_back_first() -> None:
    waits = Service("ingest", "172.18.0.6:9101", {"writer": "postgres: refused"})
    late = Service("syncer", "172.18.0.7:9103", {"tick": "no progress for 20.3 s (limit 11 s)"})
    busy = Service("ticker", "172.18.0.8:9102", {"ticker": "rabbitmq: refused"})
    down = replace(
        ALL_HEALTHY,
        postgres=Down("refused"),
        rabbitmq=replace(QUEUES, ticks=QueueState(TICK_QUEUE, 1, 0)),
        keydb=replace(SHOWN, boundary=NOW - timedelta(hours=1)),
        services=[waits, late, busy],
    )

    found = [(one.about, one.do) for one in assess(down)]
    first = "bring Postgres back first"

    assert found[0][0] == "postgres"
    assert sorted(found[1:]) == [
        ("ingest", first),
        ("keydb", first),
        ("syncer", first),
        ("syncer", first),
        ("ticker", "docker compose logs --tail 50 ticker"),
    ]


def test_a_full_disk_that_the_tool_itself_meets_is_said_as_what_it_is() -> None:
    down = replace(ALL_HEALTHY, postgres=Down("53100: could not extend file"))

    assert "df -h" in only(down).do
