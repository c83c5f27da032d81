"""Fold and publish in interleavings and faults that hypothesis makes up, against plain books.

After every step: the newest tick is what was committed when it was written, and a reader sees
exactly one tick, never an older one but where the store itself went back.
HYPOTHESIS_PROFILE=shrink looks for a shorter way to what the usual run has found, minutes;
HYPOTHESIS_PROFILE=soak looks much longer, and at other runs each time.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.syncer.core import PARTIAL_PREFIX
from tests.support import ledger, servers
from tests.support.ledger import minute
from tests.support.reference import Provider, Row
from tests.support.world import World, world

COMMON = settings(
    deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False
)
QUICK = settings(COMMON, max_examples=40, stateful_step_count=40, derandomize=True)
PROFILES = {
    "quick": settings(QUICK, phases=(Phase.generate,)),
    "shrink": QUICK,
    "soak": settings(COMMON, max_examples=2000, stateful_step_count=80),
}
pytestmark = pytest.mark.soak
PROFILE = PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "quick")]

HANDS = st.integers(0, 1)
PICKS = st.integers(0, 99)
VALUES = st.integers(-999, 999)
NAMES = st.sampled_from("abc")


class Machine(RuleBasedStateMachine):
    """Two hands that write, two syncers that stop at every step, servers that lose things."""

    def __init__(self, postgres: servers.Postgres, keydb: servers.Keydb) -> None:
        super().__init__()
        self._open = ExitStack()
        self.world: World = self._open.enter_context(world(postgres, keydb))
        self.minutes = 0
        self.floor = 0
        self.put_back: Callable[[], None] | None = None

    @initialize()
    def begin(self) -> None:
        for name in "ab":
            self.world.put_provider(0, Provider(name, 1000))
        self.world.commit(0)

    # --- writers --------------------------------------------------------------------------------

    @rule(hand=HANDS, pick=PICKS, value=VALUES, commit=st.booleans())
    def insert(self, hand: int, pick: int, value: int, commit: bool) -> None:  # noqa: FBT001
        if providers := self.world.free(hand, "providers"):
            self.world.put_row(hand, Row(providers[pick % len(providers)], value))
        if commit:
            self.world.commit(hand)

    @rule(hand=HANDS, pick=PICKS, value=VALUES, gone=st.booleans())
    def correct(self, hand: int, pick: int, value: int, gone: bool) -> None:  # noqa: FBT001
        rows, providers = self.world.free(hand, "rows"), self.world.free(hand, "providers")
        if not (rows and providers):
            return
        if gone:
            self.world.delete_row(hand, rows[pick % len(rows)])
        else:
            row = Row(providers[pick % len(providers)], value)
            self.world.put_row(hand, row, rows[pick % len(rows)])

    @rule(hand=HANDS, pick=PICKS, name=NAMES, value=VALUES, new=st.booleans())
    def provide(self, hand: int, pick: int, name: str, value: int, new: bool) -> None:  # noqa: FBT001
        providers = self.world.free(hand, "providers")
        if new or not providers:
            self.world.put_provider(hand, Provider(name, value))
        else:
            self.world.put_provider(hand, Provider(name, value), providers[pick % len(providers)])

    @rule(hand=HANDS, pick=PICKS)
    def remove_provider(self, hand: int, pick: int) -> None:
        if unused := self.world.unused(hand):
            self.world.delete_provider(hand, unused[pick % len(unused)])

    @rule(hand=HANDS)
    def commit(self, hand: int) -> None:
        self.world.commit(hand)

    @rule(hand=HANDS)
    def roll_back(self, hand: int) -> None:
        self.world.roll_back(hand)

    # --- syncers --------------------------------------------------------------------------------

    @rule(number=HANDS, same=st.booleans(), steps=st.integers(0, 30))
    def tick(self, number: int, same: bool, steps: int) -> None:  # noqa: FBT001
        """Begin a tick, the last one again or the next, and go some steps of it."""
        self.minutes += 0 if same and self.minutes else 1
        boundary = minute(self.minutes)
        self._begin(number, lambda syncer: syncer.tick(boundary), steps)

    @rule(number=HANDS, first=st.integers(0, 15), then=st.integers(0, 15), value=VALUES)
    def race(self, number: int, first: int, then: int, value: int) -> None:
        """Two syncers in the middle of two ticks, with a change in between."""
        self.go_on(0, 99)
        self.go_on(1, 99)
        self.tick(number, same=False, steps=first)
        self.insert(0, 0, value, commit=True)
        self.tick(1 - number, same=False, steps=then)
        self.go_on(number, 30)

    @rule(number=HANDS, steps=st.integers(0, 4))
    def fold(self, number: int, steps: int) -> None:
        self._begin(number, lambda syncer: syncer.fold(), steps)

    @rule(number=HANDS, steps=st.integers(0, 20))
    def publish(self, number: int, steps: int) -> None:
        self._begin(number, lambda syncer: syncer.publish(), steps)

    @rule(number=HANDS, steps=st.integers(1, 8))
    def go_on(self, number: int, steps: int) -> None:
        for _ in range(steps):
            if self.world.lanes[number].busy:
                self._order(number, "go")

    @rule(number=HANDS, order=st.sampled_from(["die", "away"]))
    def fail(self, number: int, order: str) -> None:
        """Kill a syncer at its step, or let a server not be reached: its answer may be lost."""
        if self.world.lanes[number].gate.at:
            self._order(number, order)

    @rule(number=HANDS)
    def cut(self, number: int) -> None:
        self.world.lanes[number].cut()
        self._wait()

    # --- servers --------------------------------------------------------------------------------

    @rule()
    def flush_store(self) -> None:
        ledger.flush(self.world.keydb)()
        self.floor = 0

    @rule()
    def save_store(self) -> None:
        self.put_back = ledger.dump(self.world.keydb)

    @precondition(lambda self: self.put_back)
    @rule()
    def put_store_back(self) -> None:
        assert self.put_back
        self.put_back()
        self.floor = 0

    @rule()
    def save_database(self) -> None:
        self.world.save_database()

    @rule(number=HANDS, value=VALUES)
    def lose_what_was_read(self, number: int, value: int) -> None:
        """Fail over just after a fold read what is lost."""
        self.world.save_database()
        self.insert(0, 0, value, commit=True)
        self.fold(number, 4)
        self.lose_commits()

    @rule()
    def lose_commits(self) -> None:
        self.world.lose_commits()
        self._wait()

    # --- what must hold -------------------------------------------------------------------------

    @invariant()
    def the_newest_tick_is_what_was_committed_when_it_was_written(self) -> None:
        token, balances = self.world.newest()
        if token in self.world.counted:  # the baseline is not
            assert balances == self.world.counted[token]

    @invariant()
    def a_reader_sees_one_tick_and_never_an_older_one(self) -> None:
        seen = self.world.seen()
        if seen is None or seen.token.startswith(PARTIAL_PREFIX):
            return
        assert seen.values == self.world.counted[seen.token], "mixed"
        assert seen.epoch >= self.floor, "written back in time"
        self.floor = seen.epoch

    @rule()
    def calm_down(self) -> None:
        """With everything up, one more tick, and KeyDB is the truth."""
        while any(lane.busy for lane in self.world.lanes):
            for number in (0, 1):
                self.go_on(number, 1)
                self.a_reader_sees_one_tick_and_never_an_older_one()
        self.tick(0, same=False, steps=999)
        while (seen := self.world.seen()) is None or seen.token != self.world.newest()[0]:
            self.publish(1, 999)
        assert seen.values == self.world.books.balances()

    def teardown(self) -> None:
        try:
            self.calm_down()
        finally:
            self._open.close()

    def _begin(self, number: int, work: Callable[..., object], steps: int) -> None:
        lane = self.world.lanes[number]
        if not lane.busy:
            lane.start(work)
        self.go_on(number, steps)

    def _order(self, number: int, order: str) -> None:
        self.world.lanes[number].go(order)  # type: ignore[arg-type]
        self._wait()

    def _wait(self) -> None:
        for lane in self.world.lanes:  # one that waited for the lock may have it now
            if lane.busy:
                lane.wait()


@pytest.mark.timeout(7200)
def test_no_interleaving_of_writers_ticks_and_faults_shows_a_wrong_balance(
    postgres_server: servers.Postgres, keydb_server: servers.Keydb
) -> None:
    class Here(Machine):
        def __init__(self) -> None:
            super().__init__(postgres_server, keydb_server)

    run_state_machine_as_test(Here, settings=PROFILE)
