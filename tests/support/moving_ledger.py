"""What hypothesis makes up of providers, transactions and ticks: early, late, by hand."""

import contextlib

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.support import ledger, servers
from tests.support.reference_alerts import PastTick

PROVIDERS_MAX = 4
PICKS = st.integers(0, 99)
MOVES = st.integers(-3, 3)


class MovingLedger(RuleBasedStateMachine):
    """A ledger and its ticks, and the balances that each of them must have."""

    def __init__(self, postgres: servers.Postgres) -> None:
        super().__init__()
        self.open = contextlib.ExitStack()
        self.dsn = self.open.enter_context(postgres.database())
        self.conn = self.open.enter_context(psycopg.connect(self.dsn, autocommit=True))
        self.late = self.open.enter_context(psycopg.connect(self.dsn))
        self.balances: dict[int, int] = {}
        self.moved: set[int] = set()
        self.gone: list[int] = []
        self.uncommitted: list[tuple[int, int]] = []
        self.minutes = 0
        self.history: list[PastTick] = []

    def teardown(self) -> None:
        self.open.close()

    # --- balances ---------------------------------------------------------------------------------

    @rule(pick=PICKS, value=MOVES, late=st.booleans())
    def move(self, pick: int, value: int, late: bool) -> None:  # noqa: FBT001
        """Add a transaction; a late one commits later, perhaps after its tick."""
        if not self.balances:
            return
        provider = sorted(self.balances)[pick % len(self.balances)]
        ledger.add(self.late if late else self.conn, provider, value)
        if late:
            self.uncommitted.append((provider, value))
        else:
            self._count(provider, value)

    @rule()
    def commit_late(self) -> None:
        self.late.commit()
        for provider, value in self.uncommitted:
            self._count(provider, value)
        self.uncommitted.clear()

    @rule(name=st.sampled_from("abc"), initial=MOVES)
    def provide(self, name: str, initial: int) -> None:
        """Add a provider, or one that was there before."""
        if self.gone:
            provider = self.gone.pop()
            query = "INSERT INTO initial_data VALUES (%s, %s, %s)"
            self.conn.execute(query, [provider, name, initial])
            self._count(provider, initial)
        elif len(self.balances) < PROVIDERS_MAX:
            self._count(ledger.add_provider(self.conn, name, initial), initial)

    @rule(pick=PICKS)
    def rename(self, pick: int) -> None:
        """Change a name, which is a movement of nothing."""
        if self.balances:
            provider = sorted(self.balances)[pick % len(self.balances)]
            query = "UPDATE initial_data SET provider_name = provider_name || '!' WHERE id = %s"
            self.conn.execute(query, [provider])
            self._count(provider, 0)

    @rule(pick=PICKS)
    def remove(self, pick: int) -> None:
        held = {provider for provider, _ in self.uncommitted}
        if free := sorted(set(self.balances) - held):
            provider = free[pick % len(free)]
            with self.conn.transaction():
                query = "DELETE FROM historical_transactions WHERE provider_id = %s"
                self.conn.execute(query, [provider])
                self.conn.execute("DELETE FROM initial_data WHERE id = %s", [provider])
            del self.balances[provider]
            self.gone.append(provider)
            self.moved.add(provider)

    # --- ticks ------------------------------------------------------------------------------------

    @rule()
    def interim(self) -> None:
        ledger.write_tick(self.conn, None)

    @rule(moves=st.lists(st.tuples(PICKS, MOVES), max_size=3), skipped=st.integers(0, 2))
    def tick(self, moves: list[tuple[int, int]], skipped: int) -> None:
        """Write a tick of some moves; boundaries before it may have been missed."""
        for pick, value in moves:
            self.move(pick, value, late=False)
        self.minutes += 1 + skipped
        boundary = ledger.minute(self.minutes)
        mark = ledger.write_tick(self.conn, boundary)
        self.history.append(
            PastTick(mark.epoch, mark.token, boundary, dict(self.balances), frozenset(self.moved))
        )
        self.moved.clear()

    def _count(self, provider: int, value: int) -> None:
        self.balances[provider] = self.balances.get(provider, 0) + value
        self.moved.add(provider)
