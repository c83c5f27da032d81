"""A client that says by HTTP which objects were seen, and what has to be kept of that.

Each post is repeated until it is answered 202. Every object is online, and nothing expires while a
run lasts: at the end each object of a 202 is a row, and no other is.
"""

import contextlib
import threading
from collections.abc import Iterator

import httpx
import psycopg

from tests.faults import addresses
from tests.faults.difference import Difference
from tests.faults.request_mixture import TOKEN
from tests.support.beside import beside
from tests.support.stack import Stack

OBJECTS_AT_ONCE = 5
PAUSE_S, AGAIN_S = 0.5, 1.0
ANSWER_S = 15.0
SHOWN_MAX = 10


class Sightings:
    """Posts ever new objects."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self.posted = 0
        """The largest object that was posted."""
        self.accepted = 0
        """All up to this one were answered 202."""

    @contextlib.contextmanager
    def flowing(self) -> Iterator["Sightings"]:
        """Post while inside; on the way out the last one is answered, or given up."""
        with beside(self._run, self._stop.set):
            yield self

    def differences(self, conn: psycopg.Connection) -> list[Difference]:
        """Say which objects are not kept, and which are that nobody has seen."""
        kept = {one for (one,) in conn.execute("SELECT object_id FROM last_seen")}
        lost = sorted(set(range(1, self.accepted + 1)) - kept)
        strange = sorted(kept - set(range(1, self.posted + 1)))
        return [
            Difference(f"{len(found)} objects are {what}: {found[:SHOWN_MAX]}")
            for what, found in (("seen and not kept", lost), ("kept and not seen", strange))
            if found
        ]

    def _run(self) -> None:
        login = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(timeout=ANSWER_S, headers=login) as client:
            while not self._stop.wait(PAUSE_S):
                objects = [self.posted + number for number in range(1, OBJECTS_AT_ONCE + 1)]
                self.posted = objects[-1]
                while not self._is_accepted(client, objects):
                    if self._stop.wait(AGAIN_S):
                        return
                self.accepted = self.posted

    def _is_accepted(self, client: httpx.Client, objects: list[int]) -> bool:
        for port in addresses.ports(self._stack, "gateway", 8080):  # none while it is down
            url = f"http://127.0.0.1:{port}/callback"
            with contextlib.suppress(httpx.TransportError):
                return client.post(url, json={"object_ids": objects}).status_code == 202
        return False
