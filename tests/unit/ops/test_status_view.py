"""How `ops status` shows what it sees."""

from dataclasses import replace

import pytest

from ops.status.core import assess
from ops.status.snapshot import SILENT, Down, Service
from ops.status.view import watched
from shared.ledger.disk_usage import DiskUsage
from shared.postgres import SCHEMA_NEEDED
from tests.support.status_probes import (
    ALL_ASKED,
    ALL_HEALTHY,
    ASKED,
    NOW,
    SHOWN,
    drawn,
    shown_to_people,
    with_ledger,
)

KNOWN = "database 1.9 GB of 50.0 GB, outbox 700.0 MB"
ONE_KEY = replace(SHOWN, keys=1)


def test_all_is_healthy_is_said_only_where_all_was_asked() -> None:
    unasked = shown_to_people(ALL_HEALTHY)
    failing = replace(ASKED, unacknowledged=Down("management page: it answers 401"))

    assert "Everything is healthy." in shown_to_people(ALL_ASKED)
    assert "Not asked" not in shown_to_people(ALL_ASKED)
    assert "Everything is healthy." not in unasked
    assert "Nothing wrong was found." in unasked
    assert (
        "Not asked: the services (OPS_SERVICES), unacknowledged messages (RABBITMQ_MANAGEMENT_URL)."
    ) in unasked
    assert "(management page: it answers 401)" in shown_to_people(
        replace(ALL_HEALTHY, rabbitmq=failing)
    )


def test_one_of_a_kind_is_not_said_to_be_several() -> None:
    said = shown_to_people(replace(with_ledger(providers=1, unfolded_rows=1), keydb=ONE_KEY))

    assert "schema " + str(SCHEMA_NEEDED) + ", 1 provider\n" in said
    assert "1 key of ours\n" in said
    assert "0 ready, 1 consumer\n" in said
    assert "1 row since that tick" in said


@pytest.mark.parametrize(
    ("growth_bytes_per_h", "disk_bytes", "full_in_s", "says"),
    [
        (None, None, None, "database 1.9 GB, outbox 700.0 MB; growth not known yet"),
        (1.2e8, None, None, "database 1.9 GB, outbox 700.0 MB; grows by 120.0 MB an hour"),
        (-1.2e8, None, None, "database 1.9 GB, outbox 700.0 MB; shrinks by 120.0 MB an hour"),
        (2e8, 5e10, 1.5e6, f"{KNOWN}; full in 17 d 8 h, grows by 200.0 MB an hour"),
    ],
)
def test_how_full_the_disk_is_is_said_as_far_as_it_is_known(
    growth_bytes_per_h: float | None, disk_bytes: float | None, full_in_s: float | None, says: str
) -> None:
    used = (1_900_000_000, 700_000_000)
    disk = DiskUsage(*used, disk_bytes, growth_bytes_per_h, full_in_s)

    lines = shown_to_people(with_ledger(disk=disk)).splitlines()
    assert [one.split(maxsplit=1)[1] for one in lines if one.startswith("disk ")] == [says]


def test_a_live_view_says_when_it_looked_and_what_is_wrong_before_a_terminal_cuts_it_off() -> None:
    wrong = replace(ALL_HEALTHY, keydb=Down("refused"))

    said = drawn(watched(wrong, assess(wrong), looked_at=NOW, every_s=2.0)).splitlines()

    assert said[0] == "2026-11-20T23:42:30Z, every 2 s; Ctrl-C ends"
    assert said[2] == "WRONG  keydb: keydb gives no answer: refused"
    assert said[-1].startswith("dead letters ")


def test_replicas_of_a_service_are_counted_and_silent_ones_said() -> None:
    def service(name: str, error: str = "", **problems: str) -> Service:
        return Service(name, "172.18.0.5:9101", problems, error)

    services = [
        service("ingest"), service("ingest", writer="postgres: away"), service("syncer"),
        service("ticker", SILENT),
    ]  # fmt: skip

    said = shown_to_people(replace(ALL_HEALTHY, services=services))

    assert "ingest 1 of 2 healthy, syncer healthy, ticker silent\n" in said
