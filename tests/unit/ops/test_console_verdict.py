"""The verdict is green only where all was asked and all of it is right."""

from dataclasses import replace
from typing import Any, cast

import pytest

from ops.console import comparison, operations, servers
from ops.console.balances import Balances
from ops.console.comparison import REMEMBERED_MAX, Difference
from ops.console.metrics import Replica
from ops.console.poll import Found, Poll
from ops.console.sections import Sections
from ops.console.settings import ConsoleSettings
from ops.doctor.core import Check
from shared.postgres_pool import ReadingPool
from tests.support.status_probes import ALL_ASKED, NOW, SHOWN

CHOSEN = ConsoleSettings.model_validate(
    {
        "postgres_dsn": "postgresql://u:p@127.0.0.1:1/d",
        "rabbitmq_url": "amqp://u:p@127.0.0.1:1/%2F",
        "keydb_url": "redis://127.0.0.1:1/0",
        "ops_services": "ingest:9101 syncer:9103",
    }
)
EMPTY = {name: Found([]) for name in ("compared", "ticks", "doctor", "requests", "notifications")}


def poll(**parts: Found) -> Poll:
    """Return a poll of servers that are all healthy, with these parts instead."""
    healthy = {
        "postgres": Found(ALL_ASKED.postgres),
        "known": Found(servers.Known("7", "token", known=True)),
        "rabbitmq": Found(ALL_ASKED.rabbitmq),
        "keydb": Found(ALL_ASKED.keydb),
        "services": Found(ALL_ASKED.services),
        "queue": Found(None),
        "metrics": Found([]),
        "actions": Found([]),
    }
    return Poll(1, NOW, 0.0, healthy | EMPTY | parts)


def shown(sections: Sections, seen: Poll) -> Any:
    return sections.views(seen)["verdict"]


@pytest.fixture
def sections() -> Sections:
    pool = cast("ReadingPool", None)
    return Sections(CHOSEN, pool, cast("Balances", None), lambda: 0.0)


def test_what_is_all_healthy_is_green(sections: Sections) -> None:
    said = shown(sections, poll())

    assert (said["state"], said["sentence"]) == ("healthy", "Everything is healthy.")


@pytest.mark.parametrize(
    "parts",
    [
        {"compared": Found(error="no answer within 2.5 s")},
        {"compared": Found(error="keydb: permits less than the login needs")},
        {"known": Found(error="no answer within 2.5 s")},
        {"known": Found(servers.Known("7", "token", known=False))},
        {"services": Found([])},
        {"services": Found(error="no answer within 2.5 s")},
        {"postgres": Found(error="bug: KeyError, see the log")},
        {"keydb": Found(error="no answer within 2.5 s")},
        {"rabbitmq": Found(error="no answer within 2.5 s")},
    ],
)
def test_what_could_not_be_asked_is_not_green(sections: Sections, parts: dict[str, Found]) -> None:
    said = shown(sections, poll(**parts))

    assert said["state"] in ("unsure", "wrong")
    assert said["sentence"] != "Everything is healthy."
    assert said["not_asked"] or said["findings"]


def test_what_is_known_of_another_tick_is_not_said_of_the_one_that_is_shown() -> None:
    of_another = poll(known=Found(servers.Known("6", "token", known=False)))

    assert servers.snapshot(CHOSEN, of_another).keydb == replace(SHOWN, known=None)


def test_services_that_did_not_answer_in_time_are_each_said_to_be_so(sections: Sections) -> None:
    late = poll(services=Found(error="no answer within 2.5 s"))

    said = shown(sections, late)

    assert [one.about for one in said["findings"]] == ["ingest", "syncer"]
    assert servers.snapshot(CHOSEN, late).not_asked == []


def test_what_differed_is_red_until_it_is_compared_again(sections: Sections) -> None:
    sections.comparison.known[1] = Difference("1_Visa", "1900", "5")
    failing = poll(compared=Found(error="no answer within 2.5 s"))

    assert shown(sections, failing)["state"] == "wrong"
    assert shown(sections, poll(compared=Found([])))["state"] == "healthy"


def test_what_the_last_reconciliation_found_is_red_until_it_is_said_otherwise(
    sections: Sections,
) -> None:
    values = {operations.DRIFT: 2.0}
    syncer = Replica("syncer", "a", values, {}, 0, {})

    said = shown(sections, poll(metrics=Found([syncer])))

    assert (said["state"], said["findings"][0].about) == ("wrong", "reconciliation")
    assert shown(sections, poll(metrics=Found(error="too late")))["state"] == "wrong"
    agree = replace(syncer, now={operations.DRIFT: 0.0})
    assert shown(sections, poll(metrics=Found([agree])))["state"] == "healthy"


def test_a_setting_that_must_be_another_is_said_beside_the_verdict(sections: Sections) -> None:
    check = Check("keydb", "maxmemory-policy", "fail", "allkeys-lru", "noeviction")

    said = shown(sections, poll(doctor=Found([check])))

    (found,) = said["findings"]
    assert (said["state"], found.level) == ("healthy", "note")
    assert "keydb maxmemory-policy" in found.says


def test_more_differences_than_are_remembered_are_not_counted_as_if_they_were_all() -> None:
    (found,) = comparison.finding([Difference("1_Visa", "1900", "5")] * REMEMBERED_MAX)

    assert "and at least 99 more like it" in found.says
