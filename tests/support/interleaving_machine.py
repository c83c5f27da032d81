"""What hypothesis makes interleavings of: writers, syncers that stop, servers that lose.

Chance alone reaches most of what can go wrong. Some guards are missed only if three things meet at
one step each; `race`, `overtake` and `lose_...` bring them together, and chance does the rest.
"""

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.support import ledger, servers
from tests.support.ledger import minute
from tests.support.reference_ledger import Provider, Row
from tests.support.step_gate import Order
from tests.support.stepped_invariants import Watched
from tests.support.stepped_pair import STEPS_MAX

WRITERS = st.integers(0, 1)
PICKS = st.integers(0, 99)
VALUES = st.integers(-999, 999)
NAMES = st.sampled_from("abc")

TRIES_MAX = 10
"""How often a server that did not answer in time is asked again, once all is calm."""


def steps(server: str, *names: str) -> list[str]:
    """Return the gates before these steps."""
    return [f"{server}: {name}" for name in names]


THE_END = [""]
SHOWING = [*steps("keydb", "script", "answer"), *THE_END]
WRITTEN = [*steps("postgres", "committed"), *SHOWING]
TICKS = st.sampled_from(
    [*steps("postgres", "lock", "newest tick", "insert tick", "COMMIT"), *WRITTEN]
)
PLANS = st.sampled_from(
    [*steps("postgres", "known", "changes", "everything"), *steps("keydb", "keys", "script")]
)


class Machine(Watched):
    """Two writers, two syncers that stop at every step, servers that lose things."""

    def __init__(self, postgres: servers.Postgres, keydb: servers.Keydb) -> None:
        super().__init__(postgres, keydb)
        self.minutes = 0
        self.put_back: Callable[[], None] | None = None

    @initialize()
    def begin(self) -> None:
        for name in "ab":
            self.system.put_provider(0, Provider(name, 1000))
        self.system.commit(0)

    # --- writers --------------------------------------------------------------------------------

    @rule(writer=WRITERS, pick=PICKS, value=VALUES, commit=st.booleans())
    def insert(self, writer: int, pick: int, value: int, commit: bool) -> None:  # noqa: FBT001
        if providers := self.system.free(writer, "providers"):
            self.system.put_row(writer, Row(providers[pick % len(providers)], value))
        if commit:
            self.system.commit(writer)

    @rule(writer=WRITERS, pick=PICKS, value=VALUES, gone=st.booleans())
    def correct(self, writer: int, pick: int, value: int, gone: bool) -> None:  # noqa: FBT001
        rows, providers = self.system.free(writer, "rows"), self.system.free(writer, "providers")
        if not (rows and providers):
            return
        if gone:
            self.system.delete_row(writer, rows[pick % len(rows)])
        else:
            row = Row(providers[pick % len(providers)], value)
            self.system.put_row(writer, row, rows[pick % len(rows)])

    @rule(writer=WRITERS, pick=PICKS, name=NAMES, value=VALUES, new=st.booleans())
    def provide(self, writer: int, pick: int, name: str, value: int, new: bool) -> None:  # noqa: FBT001
        providers = self.system.free(writer, "providers")
        if new or not providers:
            self.system.put_provider(writer, Provider(name, value))
        else:
            self.system.put_provider(
                writer, Provider(name, value), providers[pick % len(providers)]
            )

    @rule(writer=WRITERS, pick=PICKS)
    def remove_provider(self, writer: int, pick: int) -> None:
        if unused := self.system.unused(writer):
            self.system.delete_provider(writer, unused[pick % len(unused)])

    @rule(writer=WRITERS)
    def commit(self, writer: int) -> None:
        self.system.commit(writer)

    @rule(writer=WRITERS)
    def roll_back(self, writer: int) -> None:
        self.system.roll_back(writer)

    # --- syncers --------------------------------------------------------------------------------

    @rule(number=WRITERS, same=st.booleans(), count=st.integers(0, 30))
    def tick(self, number: int, same: bool, count: int) -> None:  # noqa: FBT001
        """Begin a tick, the last one again or the next, and go some steps of it."""
        self.minutes += 0 if same and self.minutes else 1
        boundary = minute(self.minutes)
        self.pair.begin(number, lambda syncer: syncer.tick(boundary), count)

    @rule(number=WRITERS, count=st.integers(0, 4))
    def fold(self, number: int, count: int) -> None:
        self.pair.begin(number, lambda syncer: syncer.fold(), count)

    @rule(number=WRITERS, count=st.integers(0, 12))
    def prepare(self, number: int, count: int) -> None:
        """Write an interim tick of what a fold has read, and look at KeyDB."""
        self.pair.begin(number, lambda syncer: syncer.prepare(), count)

    @rule(number=WRITERS, count=st.integers(0, 20))
    def publish(self, number: int, count: int) -> None:
        self.pair.begin(number, lambda syncer: syncer.publisher.publish(), count)

    @rule(number=WRITERS, count=st.integers(1, 8))
    def go_on(self, number: int, count: int) -> None:
        self.pair.go_on(number, count)

    @rule(number=WRITERS, order=st.sampled_from(["die", "away"]))
    def fail(self, number: int, order: Order) -> None:
        """Kill a syncer at its step, or let a server not be reached: its answer may be lost."""
        self.pair.fail(number, order)

    @rule(number=WRITERS)
    def cut(self, number: int) -> None:
        self.pair.cut(number)

    # --- two syncers at once --------------------------------------------------------------------

    @rule(number=WRITERS, first=TICKS, then=TICKS, value=VALUES)
    def race(self, number: int, first: str, then: str, value: int) -> None:
        """Two syncers in the middle of two ticks, with a change in between."""
        self.pair.rest()
        self.tick(number, same=False, count=0)
        self.pair.until(number, first)
        self.insert(0, 0, value, commit=True)
        self.tick(1 - number, same=False, count=0)
        self.pair.until(1 - number, then)
        self.pair.go_on(number)

    @rule(
        number=WRITERS,
        first=PLANS,
        then=st.sampled_from(WRITTEN),
        empty=st.booleans(),
        value=VALUES,
    )
    def overtake(self, number: int, first: str, then: str, empty: bool, value: int) -> None:  # noqa: FBT001
        """Work out what to send to a store that is behind while the other one writes a tick."""
        self.pair.rest()
        if empty:
            self.flush_store()
        self.insert(0, 0, value, commit=True)
        self.tick(number, same=False, count=0)
        self.pair.until(number, "keydb: script")
        self.pair.fail(number, "die")
        self.publish(number, 0)
        self.pair.until(number, first)
        self.insert(0, 0, value, commit=True)
        self.tick(1 - number, same=False, count=0)
        self.pair.until(1 - number, then)
        self.pair.go_on(number)

    # --- servers --------------------------------------------------------------------------------

    @rule()
    def flush_store(self) -> None:
        ledger.flush(self.system.keydb)()
        self.floor = 0

    @rule()
    def save_store(self) -> None:
        self.put_back = ledger.dump(self.system.keydb)

    @precondition(lambda self: self.put_back)
    @rule()
    def put_store_back(self) -> None:
        assert self.put_back
        self.put_back()
        self.floor = 0

    @rule()
    def save_database(self) -> None:
        self.system.save_database()

    @rule()
    def lose_commits(self) -> None:
        self.system.lose_commits()
        self.pair.settle()

    @rule(number=WRITERS, value=VALUES)
    def lose_what_was_read(self, number: int, value: int) -> None:
        """Fail over just after a fold read what is lost."""
        self.system.save_database()
        self.insert(0, 0, value, commit=True)
        self.fold(number, 4)
        self.lose_commits()

    @rule(number=WRITERS, value=VALUES, ticks=st.integers(1, 2), again=st.integers(0, 2))
    def lose_what_was_shown(self, number: int, value: int, ticks: int, again: int) -> None:
        """Fail over just after KeyDB showed ticks that are lost; then start, or tick, or both."""
        self.pair.rest()
        self.system.save_database()
        for _ in range(ticks):
            self.insert(0, 0, value, commit=True)
            self.tick(number, same=False, count=STEPS_MAX)
        self.lose_commits()
        if again != 1:
            self.publish(number, STEPS_MAX)
        if again != 0:
            self.tick(number, same=False, count=STEPS_MAX)

    # --- the end --------------------------------------------------------------------------------

    @rule()
    def calm_down(self) -> None:
        """With everything up, one more tick, and KeyDB is the truth."""
        self.pair.rest()
        for _ in range(TRIES_MAX):
            self.tick(0, same=False, count=STEPS_MAX)
            if self.pair.answered(0):
                break
        self.keydb_is_the_truth()

    def teardown(self) -> None:
        try:
            self.calm_down()
        finally:
            super().teardown()
