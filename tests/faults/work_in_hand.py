"""Whether a part has work in hand, seen from outside; faults wait for such a moment.

For what stands between broker and rows: messages that ingest has received and not acknowledged.
For what stands between rows and KeyDB: a boundary that has passed and is not shown yet. A random
half of the latter strikes at any time, so that other moments have their turn, too.
"""

import contextlib
import random
import threading
import time
import urllib.request
from http.client import HTTPException

import redis

from shared.errors import Unavailable
from tests.faults import addresses
from tests.faults.verdict import boundary_of
from tests.support.stack import INTERVAL_S, QUEUE, Stack

IN_HAND = "minutebook_ingest_in_hand_messages "
PARTS_OF_INTAKE = {"ingest", "postgres", "rabbitmq"}
WAIT_MAX_S = 1.0
# From deciding to strike until the engine does it.
LEAD_S = 0.005
SPREAD_S = 0.02


def await_in_hand(stack: Stack, part: str) -> bool:
    """Wait a little for a moment with work in hand; says whether there is any now."""
    if part in PARTS_OF_INTAKE:
        deadline = time.monotonic() + WAIT_MAX_S
        while time.monotonic() < deadline:
            if in_hand(stack) > 0:
                return True
        return False
    if random.random() < 0.5:
        return False
    return _at_boundary(stack)


def all_taken(stack: Stack) -> bool:
    """Say whether no message waits in a queue, and the ingests hold none."""
    queues = (QUEUE, "requests", "sightings")
    return not any(map(stack.messages_ready, queues)) and in_hand(stack) == 0


def in_hand(stack: Stack) -> float:
    """Return how many messages the ingests hold, unacknowledged."""
    return sum(_in_hand(port) for port in addresses.ports(stack, "ingest", 9101))


def _in_hand(port: int) -> float:
    with (
        contextlib.suppress(OSError, HTTPException),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1) as answer,
    ):
        for line in answer.read().decode().splitlines():
            if line.startswith(IN_HAND):
                return float(line.removeprefix(IN_HAND))
    return 0.0


def _at_boundary(stack: Stack) -> bool:
    with contextlib.suppress(Unavailable, redis.exceptions.RedisError):
        port = addresses.keydb_port(stack)
        with redis.Redis(
            "127.0.0.1",
            port,
            decode_responses=True,
            socket_timeout=1,
            single_connection_client=True,
        ) as store:
            boundary = (time.time() // INTERVAL_S + 1) * INTERVAL_S
            late_s = random.uniform(-LEAD_S, SPREAD_S)
            threading.Event().wait(boundary + late_s - time.time())
            shown = boundary_of(str(store.hget("minutebook:watermark", "boundary") or ""))
            return shown < boundary
    return False
