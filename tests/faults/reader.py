"""An outside reader: keys and watermark in one MULTI, every few milliseconds, during the whole run.

Nothing may ever go back, except by the store's own doing: a KeyDB that was killed may come back
without what its append-only file had not taken yet. That is told from a write of ours by the
server's `run_id`: only the first look at a new process may find an older tick, and only one of
the last seconds before (`LOST_MAX_S`). From there on it counts again.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from statistics import median, quantiles
from typing import Protocol

import psycopg
import redis

from services.syncer.core import PARTIAL_PREFIX
from shared.errors import Unavailable
from tests.faults import addresses
from tests.faults.difference import Difference
from tests.faults.keydb_snapshots import Snapshot, SnapshotConnection, connected
from tests.support import ledger
from tests.support.ledger import Values
from tests.support.stack import Stack

EVERY_S = 0.001
"""From one look to the next, where answers come as fast; looks that are late follow at once."""
LOST_MAX_S = 3.0
"""fsync every second, put off by at most two while the last one is still busy."""
Mark = tuple[int, str]


class Stop(Protocol):
    """An event, of threads or of processes."""

    def wait(self, timeout: float, /) -> bool:
        """Wait up to `timeout` seconds; says whether it is set."""

    def is_set(self) -> bool:
        """Say whether it is set."""


@dataclass
class State:
    """What was seen under a watermark; the first time is in seconds (monotonic)."""

    values: Values
    first_s: float
    last_s: float


@dataclass
class Looks:
    """How often it looked, and the pauses between two looks over one connection, in seconds.

    They are by the store's clock: when it took the looks, not when its answers were read.
    """

    reads: int = 0
    lives: int = 0
    set_back: int = 0
    pauses: list[float] = field(default_factory=list)

    def median_s(self) -> float:
        """Return the time between two looks."""
        return median(self.pauses or [0.0])

    def describe(self) -> str:
        """Return it in one line."""
        cuts = [1000 * one for one in quantiles(self.pauses or [0.0, 0.0], n=100)]
        return (
            f"{self.reads} reads, every {cuts[49]:.1f} ms (p90 {cuts[89]:.1f}, p99 {cuts[98]:.1f}),"
            f" {self.lives} lives of KeyDB, {self.set_back} of them with an older state"
        )


@dataclass
class Seen:
    """All that a reader saw: the states under each watermark, and what went back."""

    states: dict[Mark, list[State]]
    looks: Looks
    differences: list[Difference]

    def mixed(self, conn: psycopg.Connection) -> list[Difference]:
        """Return the states that are not those of the tick that their watermark names."""
        written = conn.execute("SELECT epoch, token FROM tick").fetchall()
        known = {mark: ledger.balances(conn, mark[0]) for mark in written if mark in self.states}
        found = []
        for mark, states in self.states.items():
            for state in states:
                if mark not in known:
                    found.append(Difference(f"KeyDB showed {mark}, no tick", state.first_s))
                elif state.values != known[mark]:
                    wrong = sorted(state.values.items() ^ known[mark].items())[:6]
                    found.append(Difference(f"mixed at {mark}: {wrong}", state.first_s))
        return found


class Reader:
    """Remembers each state under each watermark."""

    def __init__(self, stack: Stack, names: Sequence[str], stop: Stop) -> None:
        """`names` are all the keys that may ever be ours."""
        self._stack = stack
        self._names = list(names)
        self._stop = stop
        self._run_id = ""
        self._newborn = False
        self._floor: Mark = (-1, "")
        self._states: dict[Mark, list[State]] = {}
        self._looks = Looks()
        self._right: tuple[Snapshot, State] | None = None
        self._differences: list[Difference] = []

    @property
    def seen(self) -> "Seen":
        """What it has seen so far."""
        return Seen(self._states, self._looks, self._differences)

    def run(self) -> None:
        """Read until told to stop; a store that cannot be reached is looked at again."""
        while not self._stop.is_set():
            with contextlib.suppress(Unavailable, redis.exceptions.RedisError, OSError):
                self._live()
            self._stop.wait(0.05)

    def _live(self) -> None:
        with connected(addresses.keydb_port(self._stack), self._names) as store:
            self._begin(store)
            last_s = 0.0
            due_s = time.monotonic()
            while not self._waited_in_vain(due_s):
                due_s = max(due_s + EVERY_S, time.monotonic())
                at_s, look = store.take()
                self.see(look)
                if last_s:
                    self._looks.pauses.append(at_s - last_s)
                last_s = at_s

    def _waited_in_vain(self, due_s: float) -> bool:
        left_s = due_s - time.monotonic()
        return self._stop.wait(left_s) if left_s > 0 else self._stop.is_set()

    def _begin(self, store: SnapshotConnection) -> None:
        self._right = None
        if store.run_id != self._run_id:
            self._run_id = store.run_id
            self._newborn = True
            self._looks.lives += 1

    def see(self, look: Snapshot) -> None:
        """Verify what is there; what was there at the look before, and was right, still is."""
        self._looks.reads += 1
        now = time.monotonic()
        if self._right and look == self._right[0]:
            self._right[1].last_s = now
        else:
            state = self._verified(look, now)
            self._right = (look, state) if state else None

    def _verified(self, look: Snapshot, now: float) -> State | None:
        """Note whatever is wrong; returns the state, remembered, if nothing is."""
        noted = len(self._differences)
        (epoch, token), keys = look.mark, set(look.keys)
        held = {n: v for n, v in zip(self._names, look.values, strict=True) if v is not None}
        if set(held) != keys:
            self._note(f"the set of our keys is another than the keys there: {set(held) ^ keys}")
        if epoch is None or token is None:
            if keys or self._floor[0] >= 0:
                self._note(f"no watermark, {len(keys)} keys, after {self._floor}")
            return None
        if token.startswith(PARTIAL_PREFIX):
            return None  # a send in chunks, as the README says: it mixes two ticks, and says so
        mark = (int(epoch), token)
        self._compare(mark, now)
        self._newborn, self._floor = False, mark
        state = self._remember(mark, held, now)
        return state if noted == len(self._differences) else None

    def _compare(self, mark: Mark, now: float) -> None:
        back = mark[0] < self._floor[0]
        if back and self._newborn and self._recent(mark, now):
            self._looks.set_back += 1
        elif back:
            self._note(f"{mark} after {self._floor}")
        elif mark[0] == self._floor[0] and mark[1] != self._floor[1]:
            self._note(f"another token at {mark} than {self._floor}")

    def _recent(self, mark: Mark, now: float) -> bool:
        """Say whether a state was last seen shortly before the newest one was."""
        newest_s = self._states[self._floor][-1].last_s
        return mark in self._states and newest_s - self._states[mark][-1].last_s < LOST_MAX_S

    def _remember(self, mark: Mark, held: Values, now: float) -> State:
        states = self._states.setdefault(mark, [])
        if not states or states[-1].values != held:
            states.append(State(held, now, now))
        states[-1].last_s = now
        return states[-1]

    def _note(self, text: str) -> None:
        if not self._differences or self._differences[-1].text != text:
            self._differences.append(Difference(text, time.monotonic()))


def read(names: Sequence[str], stack: Stack, stop: Event, ready: Event) -> Seen:
    """Look until told to stop; returns what was seen. `names` as of `Reader`."""
    reader = Reader(stack, names, stop)
    ready.set()
    reader.run()
    return reader.seen
