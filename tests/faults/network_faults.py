"""Faults of the network between a service and a server, aimed at what is on its way.

Replies eaten at the moments at which nobody can know what was done: COMMIT, the acknowledgement,
the script. Connections cut in the middle of a message, and slow ones.
"""

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults import addresses
from tests.faults.fault import Fault, Struck
from tests.faults.proxy_server import CONTROL_PORT
from tests.support.containers import ROOT
from tests.support.disturbances import Kind
from tests.support.stack import Stack

OVERRIDE = ROOT / "tests" / "faults" / "compose.proxies.yaml"
WITHIN_S = 30.0
"""A message of the kind aimed at comes within that, even if another part is away meanwhile."""
SLOW_S = 5.0
EACH_WAY_S = 0.2
ANSWER_S = 30.0


def _bytes(text: bytes) -> str:
    return re.escape(text).decode("latin-1")


# Postgres's protocol: as psycopg sends it, and as the server says that it was done. BEGIN has READ
# COMMITTED in it, hence the zero.
COMMIT = _bytes(b"COMMIT\x00")
TOKEN = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-"
# Statements prepared: messages of a batch, or what memory holds at a tick. The few bytes of a read
# between ticks are not meant.
BATCH = r"\AB.{100,}"
TICK = rf"\AB.{{10,}}{TOKEN}"
# Of all that a feed sends only the move of its position names two ticks.
MOVE = rf"\A[PB].*{TOKEN}.*{TOKEN}"
# AMQP 0-9-1: size of the frame, class 60, method; the tick's body is ours.
ACK = _bytes(b"\x00\x00\x00\x0d\x00\x3c\x00\x50")
DELIVERY = _bytes(b"\x00\x3c\x00\x3c") + r".{1,300}\{"
EVENT = _bytes(b'{"event":"transaction.added"') + ".{30}"
BOUNDARY = _bytes(b'{"tick":"') + ".{30}"
# Keys of requests: in a body, in a statement's parameters, and as the identity of an item.
REQUEST = _bytes(b'{"request":"http-') + ".{30}"
KEY = r"\A[PB].*http-"
ITEM = "http-[0-9]+-[0-9]+:[0-9].{10}"
SCRIPT = _bytes(b"EVALSHA")
VERDICT = _bytes(b"applied\r\n")


@dataclass(frozen=True)
class ProxyFault:
    """An order to one link; the part that suffers is the service."""

    part: str
    name: str
    server: str
    kind: Kind
    pattern: str

    def strike(self, stack: Stack) -> Struck:
        """Give the order and wait until it was carried out. Fails if it never was."""
        slow = self.kind == "delay"
        order = {
            "proxy": f"{self.part}-{self.server}",
            "kind": self.kind,
            "pattern": self.pattern,
            "within_s": SLOW_S if slow else WITHIN_S,
            "each_way_s": EACH_WAY_S,
        }
        hits = _ordered(stack, order)
        assert hits or slow, f"{self.part}: {self.name}: nothing came by in {WITHIN_S} s"
        return Struck(in_flight=hits > 0)


def _ordered(stack: Stack, order: dict[str, object]) -> int:
    """Return how many messages the order met."""
    (port,) = addresses.ports(stack, "proxies", CONTROL_PORT)
    with socket.create_connection(("127.0.0.1", port), ANSWER_S) as control:
        control.settimeout(float(str(order["within_s"])) + ANSWER_S)
        control.sendall(json.dumps(order).encode() + b"\n")
        with control.makefile() as answer:
            return int(json.loads(answer.readline())["hits"])


@contextlib.contextmanager
def prepare(stack: Stack) -> Iterator[None]:
    """Have the stack started with proxies between services and servers."""
    stack.overrides.append(OVERRIDE)
    yield


def _of(part: str, server: str, *acts: tuple[str, Kind, str]) -> list[ProxyFault]:
    return [ProxyFault(part, f"{server}, {name}", server, kind, text) for name, kind, text in acts]


FAULTS: list[Fault] = [
    *_of(
        "ingest",
        "postgres",
        ("slow", "delay", COMMIT),
        ("batch cut in the middle", "half", BATCH),
        ("reply to a batch eaten", "reply", BATCH),
        ("COMMIT lost", "request", COMMIT),
        ("reply to COMMIT eaten", "reply", COMMIT),
        ("reply to COMMIT cut in the middle", "text", COMMIT),
    ),
    *_of(
        "ingest",
        "rabbitmq",
        ("slow", "delay", DELIVERY),
        ("delivery cut in the middle", "text", DELIVERY),
        ("ack eaten", "request", ACK),
    ),
    *_of(
        "syncer",
        "postgres",
        ("slow", "delay", COMMIT),
        ("tick cut in the middle", "half", TICK),
        ("COMMIT lost", "request", COMMIT),
        ("reply to COMMIT eaten", "reply", COMMIT),
    ),
    *_of(
        "syncer",
        "rabbitmq",
        ("slow", "delay", BOUNDARY),
        ("tick cut in the middle", "text", BOUNDARY),
        ("ack eaten", "request", ACK),
    ),
    *_of(
        "syncer",
        "keydb",
        ("slow", "delay", SCRIPT),
        ("script cut in the middle", "half", SCRIPT),
        ("reply to the script eaten", "reply", SCRIPT),
        ("reply to the script cut in the middle", "text", VERDICT),
    ),
    *_of(
        "ticker",
        "rabbitmq",
        ("slow", "delay", BOUNDARY),
        ("tick cut in the middle", "half", BOUNDARY),
        ("confirm eaten", "answer", ACK),
    ),
    *_of("feed", "postgres", ("reply to the move eaten", "reply", MOVE)),
    *_of(
        "feed",
        "rabbitmq",
        ("event cut in the middle", "half", EVENT),
        ("confirm eaten", "answer", ACK),
    ),
    *_of("notifier", "postgres", ("reply to COMMIT eaten", "reply", COMMIT)),
    *_of("notifier", "rabbitmq", ("confirm eaten", "answer", ACK)),
    *_of(
        "tracker",
        "postgres",
        ("reply to COMMIT eaten", "reply", COMMIT),
        ("statement about a request cut in the middle", "half", KEY),
        ("reply to a statement about a request eaten", "reply", KEY),
    ),
    *_of(
        "tracker",
        "rabbitmq",
        ("item cut in the middle", "half", ITEM),
        ("confirm eaten", "answer", ACK),
        ("ack eaten", "request", ACK),
    ),
    *_of(
        "gateway",
        "rabbitmq",
        ("request cut in the middle", "half", REQUEST),
        ("confirm eaten", "answer", ACK),
    ),
]
