"""`ops doctor`: what the gateway's exchange leads to, and what its queues do when they are full."""

from typing import Any

import pytest

from ops.doctor.gateway_checks import QUEUES, bindings, policies

ALL = {name: name for name in QUEUES}


@pytest.mark.parametrize(
    ("bound", "found"),
    [
        (ALL, "all there"),
        ({**ALL, "replies.of.mine": "requests"}, "all there"),
        ({"requests": "requests"}, "none to sightings, alerts"),
        ({**ALL, "sightings": "sighting"}, "none to sightings"),
    ],
)
def test_a_queue_that_is_not_bound_by_its_name_is_named(bound: dict[str, str], found: str) -> None:
    check = bindings(bound)

    assert check.found == found
    assert check.verdict == ("ok" if found == "all there" else "warn")


def queue(name: str, policy: dict[str, Any] | None, **arguments: str) -> dict[str, Any]:
    return {"name": name, "effective_policy_definition": policy, "arguments": arguments}


def test_a_queue_that_drops_what_was_accepted_is_found() -> None:
    ours = {"max-length-bytes": 1, "overflow": "reject-publish"}
    queues = [
        queue("requests", ours),
        queue("sightings", None),
        queue("alerts", {}, **{"x-overflow": "reject-publish"}),
        queue("of.mine", None),
        {"name": "requests", "arguments": {}},
    ]

    found = {one.name: (one.verdict, one.found) for one in policies(queues)}

    assert found == {
        "overflow of requests": ("ok", "reject-publish"),
        "overflow of sightings": ("warn", "drop-head"),
        "overflow of alerts": ("ok", "reject-publish"),
    }
