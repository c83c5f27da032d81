"""Many messages at once: several replicas, waiting ones, huge ones, unfit ones. None is lost."""

import hashlib
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from statistics import median

import psycopg
import pytest

from tests.support import messages, outages, servers
from tests.support.eventually import eventually
from tests.support.messages import (
    body,
    counted,
    dead_letters,
    reasons,
    rows,
    truth,
)
from tests.support.unfit_bodies import UNFIT_BODIES

pytestmark = pytest.mark.usefixtures("providers")

RUN = int(os.environ.get("LOAD_RUN_MESSAGES", "20000"))
WAITING = int(os.environ.get("LOAD_WAITING_MESSAGES", "20000"))
HUGE = int(os.environ.get("LOAD_HUGE_BODIES", "40"))
UNFIT = int(os.environ.get("LOAD_UNFIT_MESSAGES", "10000"))
SEED = int(os.environ.get("LOAD_SEED", "1"))
HUGE_BYTES = 10 * 2**20
HUGE_MIB_MAX = 300
RELEASED_WITHIN_S = 60.0
DELAY_MAX_S = 1.0
KILLS = 4
SHARED = {"INGEST_BATCH_MAX": "50", "INGEST_PREFETCH": "200"}
COUNT = "SELECT count(*) FROM historical_transactions"


@pytest.fixture(params=["quorum", "classic"])
def typed_url(request: pytest.FixtureRequest, rabbitmq_server: servers.Rabbitmq) -> Iterator[str]:
    """A virtual host in which queues are of one type or the other."""
    with rabbitmq_server.vhost(queue_type=request.param) as url:
        yield url


def stored(conn: psycopg.Connection) -> int:
    found = conn.execute(COUNT).fetchone()
    return int(found[0]) if found else 0


def test_replicas_killed_at_random_lose_and_double_nothing_and_all_others_have_a_share(
    dsn: str, conn: psycopg.Connection, typed_url: str
) -> None:
    chance = random.Random(SEED)
    texts = [body(1, number) for number in range(1, RUN + 1)]
    names = [f"m{number}" for number in range(1, RUN + 1)]
    with ExitStack() as stack:
        replicas = [stack.enter_context(messages.ingest(dsn, typed_url, **SHARED)) for _ in "123"]
        for replica in replicas:
            messages.consuming(replica)
        messages.publish(typed_url, *texts[: RUN // 2], identities=names[: RUN // 2])
        for moment in sorted(chance.sample(range(1, RUN // 4), KILLS)):
            eventually(lambda least=moment: stored(conn) >= least, 30)  # type: ignore[misc]
            replicas.pop(chance.randrange(len(replicas))).kill()
            replicas.append(stack.enter_context(messages.ingest(dsn, typed_url, **SHARED)))
        for replica in replicas:
            messages.consuming(replica)
        messages.publish(typed_url, *texts[RUN // 2 :], identities=names[RUN // 2 :])
        eventually(lambda: stored(conn) >= RUN, 60)
        for replica in replicas:  # it counts after the acknowledgement
            eventually(partial(replica.metric, "minutebook_ingest_rows_total"))
        for replica in replicas:
            assert replica.stop() == 0
    assert messages.waiting_in_queue(typed_url) == 0
    assert sorted(rows(conn)) == [(1, number) for number in range(1, RUN + 1)]
    assert dead_letters(conn) == []
    assert counted(conn) == truth(conn)


def delay_s(conn: psycopg.Connection, amqp_url: str, value: int) -> float:
    """Return how long a message of provider 2 takes to become a row, producer's errand included."""
    began = time.monotonic()
    messages.publish(amqp_url, body(2, value))
    query = "SELECT FROM historical_transactions WHERE provider_id = 2 AND transaction_value = %s"
    eventually(lambda: conn.execute(query, [value]).rowcount == 1, 30)
    return time.monotonic() - began


def test_thousands_that_wait_become_rows_in_order_and_hold_nobody_up(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    messages.publish(amqp_url, *(body(99, number) for number in range(WAITING)))
    released = "SELECT count(*) FROM historical_transactions WHERE provider_id = 99"
    conn.execute("CREATE INDEX ON historical_transactions (provider_id, transaction_value)")
    with messages.ingest(dsn, amqp_url) as program:
        count = "SELECT count(*) FROM dead_letter WHERE state = 'waiting'"
        eventually(lambda: conn.execute(count).fetchone() == (WAITING,), 60)
        before = [delay_s(conn, amqp_url, value) for value in range(10)]
        began = time.monotonic()
        conn.execute("INSERT INTO initial_data VALUES (99, 'Late', 0)")
        meanwhile: list[float] = []
        while conn.execute(released).fetchone() != (WAITING,):
            assert time.monotonic() < began + RELEASED_WITHIN_S
            meanwhile.append(delay_s(conn, amqp_url, 1000 + len(meanwhile)))
        # Not the longest of them: a busy machine stops all of us now and then.
        assert median(meanwhile) < max(DELAY_MAX_S, 10 * median(before))
        messages.queue_drained(program, amqp_url)
    late = [value for provider, value in rows(conn) if provider == 99]
    assert late == list(range(WAITING))
    assert dead_letters(conn) == []
    assert counted(conn) == truth(conn)


def test_huge_bodies_in_numbers_are_kept_byte_for_byte_in_little_memory(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    block = random.Random(SEED).randbytes(HUGE_BYTES - 4)
    bodies = (number.to_bytes(4) + block for number in range(HUGE))
    hashes = []
    with messages.ingest(dsn, amqp_url) as program:
        messages.consuming(program)
        for huge in bodies:
            hashes.append(hashlib.sha256(huge).digest())
            messages.publish(amqp_url, huge)
        messages.publish(amqp_url, body())
        eventually(lambda: rows(conn) == [(1, 600)], 120)
        assert outages.mebibytes(program) < HUGE_MIB_MAX
        messages.queue_drained(program, amqp_url)
    query = "SELECT reason, sha256(body), octet_length(body) FROM dead_letter ORDER BY id"
    assert conn.execute(query).fetchall() == [("too_large", one, HUGE_BYTES) for one in hashes]


def test_where_every_second_message_is_unfit_all_are_accounted_for(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    kinds = list(UNFIT_BODIES)
    sent = Counter(kinds[number % len(kinds)] for number in range(UNFIT // 2))
    texts: list[bytes] = []
    for number in range(UNFIT // 2):
        texts += [body(1, number), UNFIT_BODIES[kinds[number % len(kinds)]]]
    names = [f"m{number}" for number in range(UNFIT)]
    messages.publish(amqp_url, *texts, identities=names)
    with messages.ingest(dsn, amqp_url) as program:
        eventually(lambda: stored(conn) == UNFIT // 2, 60)
        eventually(lambda: Counter(reasons(conn)) == sent, 60)
        for reason, count in sent.items():
            metric = f'minutebook_dead_letters_total{{reason="{reason}"}}'
            eventually(lambda name=metric, least=count: program.metric(name) == least)  # type: ignore[misc]
        messages.queue_drained(program, amqp_url)
    assert rows(conn) == [(1, number) for number in range(UNFIT // 2)]
    assert [(reason, text) for reason, _, text in dead_letters(conn)] == [
        (kinds[number % len(kinds)], UNFIT_BODIES[kinds[number % len(kinds)]])
        for number in range(UNFIT // 2)
    ]
    assert counted(conn) == truth(conn)
