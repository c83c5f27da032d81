"""Boxes of the flow: red where something is wrong, grey where it only follows from that."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ops.console import comparison, flow, verdict
from ops.console.comparison import Difference
from ops.console.flow import Box, Depths
from ops.console.metrics import Replica, parse
from ops.status.core import assess
from ops.status.snapshot import Down, Service, Snapshot
from tests.support.status_probes import ALL_ASKED, INGEST, NOW, SHOWN

SYNCER = Service("syncer", "172.18.0.6:9103", {})
ALL = replace(ALL_ASKED, services=[INGEST, SYNCER])
COMMITS = """
# TYPE minutebook_ingest_commit_seconds histogram
minutebook_ingest_commit_seconds_bucket{le="0.01"} %d
minutebook_ingest_commit_seconds_bucket{le="0.1"} %d
minutebook_ingest_commit_seconds_bucket{le="+Inf"} %d
# TYPE minutebook_ingest_rows_total counter
minutebook_ingest_rows_total %d
"""


def boxes(snapshot: Snapshot, replicas: Sequence[Replica] = (), queue: Depths | None = None) -> Any:
    found = flow.view(snapshot, assess(snapshot), replicas, queue)["boxes"]
    return {one.name: one for one in found}


def states(snapshot: Snapshot) -> dict[str, str]:
    found: dict[str, Box] = boxes(snapshot)
    return {name: box.state for name, box in found.items()}


def figures(box: Box) -> dict[str, str]:
    return dict(box.figures)


def test_all_healthy_is_all_green() -> None:
    assert set(states(ALL).values()) == {"healthy"}


def test_a_server_that_is_down_is_red_with_its_reason_and_what_follows_is_grey() -> None:
    ingest = replace(INGEST, problems={"writer": "postgres: connection refused"})
    down = replace(ALL, postgres=Down("connection refused"), services=[ingest, SYNCER])

    found = boxes(down)

    assert found["postgres"].state == "wrong"
    assert found["postgres"].reasons == ["postgres gives no answer: connection refused"]
    assert found["ingest"].state == "follows"
    assert found["rabbitmq"].state == "healthy"


def test_a_service_that_is_wrong_by_itself_is_red() -> None:
    silent = replace(INGEST, error="connection refused")

    assert states(replace(ALL, services=[silent, SYNCER]))["ingest"] == "wrong"


def test_keydb_that_is_behind_because_of_postgres_only_follows() -> None:
    behind = replace(ALL, postgres=Down("away"), keydb=replace(SHOWN, boundary=None))

    assert states(behind)["keydb"] == "follows"


def test_services_that_were_not_asked_are_not_said_to_be_healthy() -> None:
    found = states(replace(ALL, services=[]))

    assert (found["ingest"], found["syncer"]) == ("unknown", "unknown")


def test_each_replica_is_a_dot() -> None:
    ill = replace(INGEST, address="172.18.0.9:9101", problems={"writer": "no progress"})
    found = boxes(replace(ALL, services=[INGEST, ill, SYNCER]))

    assert [state for _, state in found["ingest"].dots] == ["healthy", "wrong"]


def test_rates_and_commits_are_those_of_the_last_while() -> None:
    before, now = parse(COMMITS % (90, 90, 90, 1000)), parse(COMMITS % (90, 190, 190, 2500))
    replica = Replica("ingest", "here", now, before, 10.0, before)

    found = figures(boxes(ALL, [replica])["ingest"])

    assert found == {
        "replicas": "\N{MULTIPLICATION SIGN}1",
        "rows": "150/s",
        "commit p99": "\N{LESS-THAN OR EQUAL TO} 100 ms",
    }


def test_a_counter_that_began_anew_has_no_rate() -> None:
    before, now = parse(COMMITS % (9, 9, 9, 1000)), parse(COMMITS % (1, 1, 1, 5))

    assert Replica("ingest", "here", now, before, 10.0, before).rate(flow.INGEST_ROWS) is None


def test_one_syncer_is_at_work_and_the_others_stand_by() -> None:
    at_work = Replica("syncer", "a", {flow.ACTIVE_GAUGE: 0.0}, {}, 0, {})
    standing_by = Replica("syncer", "b", {flow.ACTIVE_GAUGE: float("nan")}, {}, 0, {})

    found = figures(boxes(ALL, [at_work, standing_by])["syncer"])

    assert (found["active"], found["standby"]) == ("1", "1")


def test_the_queue_has_depth_and_rates() -> None:
    queue = Depths(1200, 30, 99.6, 4.25, [0, 50, 1200])

    found = boxes(ALL, queue=queue)["rabbitmq"]

    assert figures(found) == {
        "ready": "1,200", "unacknowledged": "30", "in": "100/s", "out": "4.2/s",
    }  # fmt: skip
    assert flow.view(ALL, [], (), queue)["depth_max"] == 1200


def test_a_rate_that_is_hardly_one_is_not_zero() -> None:
    found = figures(boxes(ALL, queue=Depths(0, 0, 0.04, 0.0, []))["rabbitmq"])

    assert (found["in"], found["out"]) == ("< 0.1/s", "0/s")


def test_the_verdict_is_that_of_status() -> None:
    healthy = verdict.view(ALL, assess(ALL), NOW)
    wrong = verdict.view(replace(ALL, keydb=Down("x")), assess(replace(ALL, keydb=Down("x"))), NOW)

    assert (healthy["sentence"], healthy["state"]) == ("Everything is healthy.", "healthy")
    assert (wrong["sentence"], wrong["state"]) == ("1 thing is wrong.", "wrong")


def test_the_next_boundary_is_a_multiple_of_the_interval() -> None:
    found = verdict.view(ALL, [], NOW)

    assert found["next_at"].second == 0
    assert found["next_in_s"] == 30


def test_a_balance_that_keydb_shows_wrong_is_a_finding() -> None:
    (found,) = comparison.finding([Difference("1_Visa", "1900", "5"), Difference("2_M", "1", None)])

    assert found.level == "wrong"
    assert found.says == "KeyDB shows 5 for 1_Visa, whose balance is 1900, and 1 more like it"
    assert comparison.finding([]) == []
