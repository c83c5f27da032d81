"""The operator's tool over two shards: a message finds its own, a command asks all or one."""

import json
import os
import subprocess
import sys

import pytest
import redis

from tests.support import keydb_rights, ledger, messages, node_packages, servers, shards
from tests.support.containers import ROOT
from tests.support.ledger import minute
from tests.support.ops_tool import Tool
from tests.support.shards import Pipeline


@pytest.fixture
def both(pair: tuple[Pipeline, Pipeline], amqp_url: str, keydb_server: servers.Keydb) -> Tool:
    """The tool that knows the Postgres of each, and no shard of its own."""
    dsns = [one.environment["POSTGRES_DSN"] for one in pair]
    return Tool(
        {
            "SHARD_DSNS": "\n".join(dsns),
            "POSTGRES_DSN": "postgresql://user:password@127.0.0.1:9/none",
            "RABBITMQ_URL": amqp_url,
            "KEYDB_URL": keydb_server.url(keydb_rights.OPERATOR),
            "OPS_OPERATOR": "night shift",
        }
    )


def waiting(amqp_url: str, queue: str) -> list[dict[str, int]]:
    with messages.channel(amqp_url) as channel:
        found = []
        while body := channel.basic_get(queue, auto_ack=True)[2]:
            found.append(json.loads(body))
        return found


def test_what_is_sent_is_routed_to_the_queue_of_its_shard(both: Tool, amqp_url: str) -> None:
    done = both("send", "--declare", "--", "1=600", "2=-50", "-3=7", "-4=8")

    assert (done.code, done.stderr) == (0, "")
    assert waiting(amqp_url, "incoming_transactions.0") == [
        {"id": 2, "value": -50}, {"id": -4, "value": 8},
    ]  # fmt: skip
    assert waiting(amqp_url, "incoming_transactions.1") == [
        {"id": 1, "value": 600}, {"id": -3, "value": 7},
    ]  # fmt: skip


def test_the_example_of_a_producer_chooses_the_same_queue(both: Tool, amqp_url: str) -> None:
    assert both("send", "--declare", "2=1").code == 0
    for provider in ("1", "-3"):
        subprocess.run(
            [sys.executable, ROOT / "examples" / "python" / "send.py", provider, "600"],
            env={"PATH": os.environ["PATH"], "RABBITMQ_URL": amqp_url, "SHARDS": "2"},
            check=True,
            capture_output=True,
        )

    assert [one["id"] for one in waiting(amqp_url, "incoming_transactions.1")] == [1, -3]


@pytest.mark.parametrize("language", ["python", "node"])
def test_the_examples_of_readers_take_the_watermark_of_the_balances_shard(
    language: str, pair: tuple[Pipeline, Pipeline], keydb_server: servers.Keydb
) -> None:
    for pipeline, minutes in zip(pair, (1, 2), strict=True):
        with shards.syncing(pipeline, keydb_server) as syncer:
            syncer.tick(minute(minutes))

    for key, minutes in (("2_Visa", 1), ("-3_Diners", 2)):
        shown = read(language, key, KEYDB_URL=f"redis://{keydb_server.host}:{keydb_server.port}/0")
        assert f"{key} 1000 as of {minute(minutes):%Y-%m-%dT%H:%M:%S}Z" in shown


@pytest.mark.parametrize(("key", "number"), [("2_Visa", 0), ("1_Visa", 1), ("-3_Diners", 1)])
def test_the_example_of_a_reader_for_the_shell_asks_for_the_same(key: str, number: int) -> None:
    asked = read("shell", key, REDIS_CLI="sh -c cat")

    assert f'GET "{key}"\nHMGET minutebook:watermark:{number} boundary' in asked


def read(language: str, key: str, **settings: str) -> str:
    """Run an example that reads a balance, of two shards; returns what it says."""
    folder = ROOT / "examples" / language
    command = [sys.executable, "read.py"] if language == "python" else ["./read.sh"]
    if language == "node":
        folder, command = node_packages.installed(folder), ["node", "read.mjs"]
    return subprocess.run(
        [*command, key],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "SHARDS": "2", **settings},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_a_command_answers_for_each_shard_or_for_one_and_ends_with_the_worst_code(
    both: Tool,
    pair: tuple[Pipeline, Pipeline],
    keydb_server: servers.Keydb,
    store: "redis.Redis",
) -> None:
    for pipeline in pair:
        with shards.syncing(pipeline, keydb_server) as syncer:
            syncer.tick(minute(1))

    every = both("balances", "--json")
    one = both("--shard", "1", "balances", "--json")

    shown = {key: value for line in every.stdout.splitlines() for key, value in balances(line)}
    assert every.code == 0
    assert shown == ledger.shown(store)
    assert dict(balances(one.stdout)) == shards.truth(pair[1])
    assert "2 shards, nothing wrong in any" in every.stderr

    store.set("2_Visa", "13")
    differing = both("reconcile", "--json")
    assert differing.code == 1
    assert "exit codes by shard: 0/2: 1" in differing.stderr


def test_doctor_names_providers_that_are_in_the_database_of_another_shard(
    both: Tool, pair: tuple[Pipeline, Pipeline]
) -> None:
    pair[1].conn.execute("INSERT INTO initial_data VALUES (-6, 'Stray', 0)")

    found = {
        shard: {
            one["name"]: one
            for one in both("--shard", shard, "doctor", "--json").document["checks"]
        }
        for shard in ("0", "1")
    }

    check = "providers of other shards"
    assert found["0"][check]["verdict"] == "ok"
    assert (found["1"][check]["verdict"], found["1"][check]["found"]) == ("warn", "1 provider")


def test_what_was_sent_on_is_no_dead_letter_again_when_it_is_redelivered(
    both: Tool, pair: tuple[Pipeline, Pipeline], amqp_url: str
) -> None:
    assert both("send", "--declare", "2=1").code == 0  # makes the queues
    zero, one = pair
    misrouted = messages.received(messages.body(2, 70), "misrouted")
    shards.store(one, misrouted)
    (dead_letter,) = one.ops.json("dead-letters", "list")["letters"]
    assert dead_letter["reason"] == "wrong_shard"
    assert one.ops.json("dead-letters", "replay", "--all")["sent_on"] == 1
    assert [one["value"] for one in waiting(amqp_url, "incoming_transactions.0")] == [1, 70]
    shards.store(zero, misrouted)

    shards.store(one, misrouted._replace(redelivered=True))

    assert (messages.rows(zero.conn), messages.dead_letters(one.conn)) == ([(2, 70)], [])
    again = one.ops("dead-letters", "replay", str(dead_letter["id"]))
    assert (again.code, "any more: replayed at" in again.stdout) == (0, True)


def test_find_says_in_which_shard_the_dead_letter_is(
    both: Tool, pair: tuple[Pipeline, Pipeline]
) -> None:
    shards.store(pair[1], messages.received(messages.body(2, 70), "misrouted"))
    (dead_letter,) = pair[1].ops.json("dead-letters", "list")["letters"]
    says = f"ops --shard 1 dead-letters show {dead_letter['id']}"

    assert says in both("find", "misrouted").stdout
    assert says in both("--shard", "1", "find", "misrouted").stdout


def test_what_another_shard_sends_back_is_a_dead_letter_again_however_it_is_delivered(
    both: Tool, pair: tuple[Pipeline, Pipeline], amqp_url: str
) -> None:
    assert both("send", "--declare", "2=1").code == 0
    one = pair[1]
    misrouted = messages.received(messages.body(2, 70), "misrouted")
    shards.store(one, misrouted)
    assert one.ops.json("dead-letters", "replay", "--all")["sent_on"] == 1

    with messages.channel(amqp_url) as channel:
        channel.basic_get("incoming_transactions.0", auto_ack=True)  # sent before
        _, properties, sent_on = channel.basic_get("incoming_transactions.0", auto_ack=True)
    assert properties is not None
    assert sent_on is not None
    sent_back = messages.received(sent_on, properties.message_id, headers=properties.headers)

    shards.store(one, sent_back._replace(redelivered=True))

    assert messages.reasons(one.conn) == ["wrong_shard"]


def balances(line: str) -> list[tuple[str, str]]:
    return [(one["key"], str(one["balance"])) for one in json.loads(line)["balances"]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["statement", "1"], "statement is about one shard"),
        (["dead-letters", "purge", "5", "--yes"], "an ID is about one shard"),
        (["dead-letters", "replay", "5"], "an ID is about one shard"),
        (["dead-letters", "show", "5"], "an ID is about one shard"),
        (["dead-letters", "export", "--output", "all.jsonl"], "a file is about one shard"),
        (["find", "--row", "5"], "--row is about one shard"),
        (["prices", "assign", "1_Visa", "EUR", "--scale", "2"], "a provider is about one shard"),
        (["prices", "unassign", "1_Visa"], "a provider is about one shard"),
        (["prices", "import", "-"], "standard input is about one shard"),
        (["--shard", "2", "balances"], "no shard 2: SHARD_DSNS has 0 to 1"),
    ],
)
def test_what_names_no_shard_that_there_is_is_a_usage_error(
    arguments: list[str], says: str, both: Tool
) -> None:
    done = both(*arguments)

    assert done.code == 2
    assert says in done.stderr


def test_without_the_list_of_shards_none_can_be_named(pair: tuple[Pipeline, Pipeline]) -> None:
    done = pair[0].ops("--shard", "0", "balances")

    assert done.code == 2
    assert "needs SHARD_DSNS" in done.stderr
