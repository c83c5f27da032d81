"""What the broker's start script writes where there are two shards: rights, queues and policies."""

import json
import re
from typing import Any

import docker
import pytest

from tests.support import containers, servers

SHOWN = (
    "mkdir /tmp/shown && cd /tmp/shown"
    " && printf '#!/bin/sh\\ncat /dev/shm/minutebook-definitions.json\\n' >docker-entrypoint.sh"
    " && chmod +x docker-entrypoint.sh && PATH=/tmp/shown:$PATH exec bash /opt/minutebook/start.sh"
)
CONFIGURE, WRITE, READ = "configure", "write", "read"
ALLOWED: dict[str, dict[str, set[str]]] = {
    "ingest": {
        CONFIGURE: {"transactions", "incoming_transactions.0", "incoming_transactions.1"},
        WRITE: {"incoming_transactions.0", "incoming_transactions.1"},
        READ: {"transactions", "incoming_transactions.0", "incoming_transactions.1"},
    },
    "ticker": {CONFIGURE: {"ticks"}, WRITE: {"ticks"}, READ: set()},
    "syncer": {
        CONFIGURE: {"ticks", "syncer.ticks.1"},
        WRITE: {"syncer.ticks.1"},
        READ: {"ticks", "syncer.ticks.1"},
    },
    "feed": {CONFIGURE: {"changes.1"}, WRITE: {"changes.1"}, READ: set()},
    "notifier": {
        CONFIGURE: {"notifications.1", "alerts.1", "notifications.delivered.1", "prices.1"},
        WRITE: {"notifications.1"},
        READ: {"alerts.1", "notifications.delivered.1", "prices.1"},
    },
    "gateway": {CONFIGURE: set(), WRITE: {"gateway"}, READ: set()},
    "tracker": {CONFIGURE: {"requests.1"}, WRITE: {"amq.default"}, READ: {"requests.1"}},
    "console": {CONFIGURE: set(), WRITE: set(), READ: set()},
    "ops": {CONFIGURE: set(), WRITE: {"amq.default", "transactions"}, READ: set()},
}
NAMES = {name for rights in ALLOWED.values() for names in rights.values() for name in names} | {
    "incoming_transactions", "incoming_transactions.", "incoming_transactions.1.x", "alerts",
    "incoming_transactionsx1", "syncer.ticks", "changes", "notifications", "requests", "requests.x",
    "transactions.1", "gateway.1", "amq.fanout", "notifications.mail",
}  # fmt: skip


def pattern(text: str) -> str:
    r"""Return a pattern of Erlang's for Python, which has no \Q…\E."""
    return re.sub(r"\\Q(.*?)\\E", lambda found: re.escape(found[1]), text)


@pytest.fixture(scope="module")
def definitions(engine: docker.DockerClient) -> Any:
    """What the broker would read at its start."""
    options = servers.rabbitmq_options()
    said = engine.containers.run(
        containers.image("RABBITMQ_IMAGE"),
        entrypoint=["bash", "-c", SHOWN],
        environment=options["environment"] | {"SHARD": "1/2"},
        volumes=options["volumes"],
        labels={containers.LABEL: "true"},
        remove=True,
    )
    return json.loads(said)


@pytest.mark.parametrize("user", ALLOWED)
def test_each_service_reaches_the_shards_names_that_it_needs_and_no_others(
    user: str, definitions: Any
) -> None:
    (given,) = (one for one in definitions["permissions"] if one["user"] == user)

    for kind, allowed in ALLOWED[user].items():
        taken = {one for one in NAMES if given[kind] and re.search(pattern(given[kind]), one)}
        of_others = {one.replace(".1", ".0") for one in allowed} if user != "ticker" else set()
        assert taken == {one for one in NAMES if one in allowed | of_others}, kind


def test_the_gateway_reaches_the_queues_of_each_shard(definitions: Any) -> None:
    queues = {"sightings", "requests.0", "requests.1", "alerts.0", "alerts.1"}

    assert {one["name"] for one in definitions["queues"]} == queues
    assert {(one["destination"], one["routing_key"]) for one in definitions["bindings"]} == {
        (one, one) for one in queues
    }
    ordered = {one["name"] for one in definitions["queues"] if len(one["arguments"]) > 1}
    assert ordered == {"alerts.0", "alerts.1"}


def test_transactions_and_ticks_are_never_bounded_and_all_around_them_is(definitions: Any) -> None:
    found = {
        one: {
            policy["name"]
            for policy in definitions["policies"]
            if re.search(pattern(policy["pattern"]), one)
        }
        for one in ("incoming_transactions.1", "syncer.ticks.0", "requests.0", "alerts.1",
                    "prices.0", "changes.mail", "notifications.delivered.0", "sightings", "others")
    }  # fmt: skip

    assert found == {
        "incoming_transactions.1": {"minutebook"},
        "syncer.ticks.0": {"minutebook"},
        "requests.0": {"minutebook-bounded"},
        "alerts.1": {"minutebook-bounded"},
        "prices.0": {"minutebook-bounded"},
        "changes.mail": {"minutebook-changes"},
        "notifications.delivered.0": {"minutebook-bounded"},
        "sightings": {"minutebook-bounded"},
        "others": set(),
    }
