"""What hypothesis makes up of balances, alerts and notifiers that die; what must be told then."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.support import asked_alerts, servers
from tests.support.asked_alerts import Asked
from tests.support.eventually import eventually
from tests.support.moving_ledger import MOVES, PICKS, MovingLedger
from tests.support.notifier_kill_points import KILL_POINTS, Killed, KillPoint, killed_at, survived
from tests.support.notifying import Life, add_alert, listening, notifier_life
from tests.support.reference_alerts import Alert, Told, judged

NUMBERS = st.integers(0, 1)
LATE = "late"
"""The name of the alert whose transactions take their time."""
FIRST_ALERTS = ((None, "below"), (None, "above"), (1, "change"), (None, "silent"))
SELECT_POSITION = "SELECT epoch FROM follower"
SELECT_TOLD = """
SELECT id, alert_id, provider_id, epoch, boundary, condition, threshold, balance, previous
  FROM notification
"""


class Machine(MovingLedger):
    """A ledger, alerts that come and go, two notifiers, a consumer; and a reference beside it."""

    def __init__(self, postgres: servers.Postgres, rabbitmq: servers.Rabbitmq) -> None:
        super().__init__(postgres)
        self.url = self.open.enter_context(rabbitmq.vhost(queue_type="classic"))
        self.listener = self.open.enter_context(listening(self.url))
        self.uncommitted_alert: Alert | None = None
        self.alerts: dict[str, Alert] = {}
        self.expected: dict[str, Told] = {}
        self.lives: list[tuple[contextlib.ExitStack, Life]] = []

    @initialize()
    def begin(self) -> None:
        for name in "abc":
            self.provide(name, 0)
        self.tick([], skipped=0)
        self.lives = [self._born() for _ in range(2)]
        self.look(0, None)
        for name, (provider, condition) in zip("ABCD", FIRST_ALERTS, strict=True):
            self.put_alert(name, asked_alerts.asked(provider, condition, 1, 60))

    # --- alerts -----------------------------------------------------------------------------------

    @rule()
    def commit_late(self) -> None:
        super().commit_late()
        if self.uncommitted_alert:
            since = self.history[-1].epoch
            self.alerts[LATE] = replace(self.uncommitted_alert, since_epoch=since)
        self.uncommitted_alert = None

    @rule(name=st.sampled_from("ABCD"), asked=asked_alerts.of(None, 1, 2, 3))
    def put_alert(self, name: str, asked: Asked) -> None:
        """Add an alert, or change it, or say it again."""
        self.alerts[name] = self._put(self.conn, name, asked, self.alerts.get(name))

    @rule(asked=asked_alerts.of(1, 2, 3))
    def put_late(self, asked: Asked) -> None:
        """Add or change one in a transaction that commits later, perhaps after some ticks."""
        known = self.uncommitted_alert or self.alerts.get(LATE)
        put = self._put(self.late, LATE, asked, known)
        if put != known:
            self.uncommitted_alert = put

    @rule(name=st.sampled_from("ABCD"))
    def remove_alert(self, name: str) -> None:
        self.alerts.pop(name, None)
        self.conn.execute("UPDATE alert SET active = false WHERE source_id = %s", [name])

    # --- notifiers --------------------------------------------------------------------------------

    @rule(
        several=st.lists(
            st.tuples(st.lists(st.tuples(PICKS, MOVES), max_size=3), st.integers(0, 2)),
            min_size=1,
            max_size=4,
        ),
        begun=st.none() | asked_alerts.of(1, 2, 3),
        late=st.booleans(),
        both=st.booleans(),
        number=NUMBERS,
        point=KILL_POINTS,
        meanwhile=st.tuples(st.sampled_from("ABC"), st.none() | asked_alerts.of(None, 1, 2, 3)),
    )
    def away(
        self,
        *,
        several: list[tuple[list[tuple[int, int]], int]],
        begun: Asked | None,
        late: bool,
        both: bool,
        number: int,
        point: KillPoint | None,
        meanwhile: tuple[str, Asked | None],
    ) -> None:
        """Write ticks while no notifier looks, then let both do so at once, or one.

        The transaction of an alert that is `begun` before may commit before they look. If that one
        dies, an alert is not the same any more when the other one looks.
        """
        if begun:
            self.put_late(begun)
        for moves, skipped in several:
            self.tick(moves, skipped)
        if late:
            self.commit_late()
        if both:
            self.both_look()
        self.look(number, point)
        if point:
            name, asked = meanwhile
            if asked:
                self.put_alert(name, asked)
            else:
                self.remove_alert(name)
            self.look(1 - number, None)

    @rule(number=NUMBERS, point=KILL_POINTS)
    def look(self, number: int, point: KillPoint | None) -> None:
        """Let a notifier follow a tick, if there is one; it may die meanwhile."""
        life = self.lives[number][1]
        lives = False
        with self._judging(), survived(), killed_at(life, point):
            life.look()
            if point == "before publishing":
                raise Killed
            life.notifier.pause(0.001)
            while point is None and life.look() == "followed":
                life.notifier.pause(0.001)
            lives = point is None
        if not lives:
            self.lives[number][0].close()
            self.lives[number] = self._born()
        self.what_is_noted_as_sent_was_received()

    @rule()
    def both_look(self) -> None:
        with self._judging(), ThreadPoolExecutor(2) as pool:
            for one in [pool.submit(life.look) for _, life in self.lives]:
                one.result(30)

    @rule(bound=st.booleans())
    def bind(self, bound: bool) -> None:  # noqa: FBT001
        if bound:
            self.listener.bind()
        else:
            self.listener.unbind()

    # --- what must hold ---------------------------------------------------------------------------

    def what_is_noted_as_sent_was_received(self) -> None:
        query = "SELECT id FROM notification WHERE sent_at IS NOT NULL"
        sent = {one for (one,) in self.conn.execute(query)}
        eventually(lambda: sent <= self.listener.listen().keys())

    def teardown(self) -> None:
        try:
            if self.lives:
                self.calm_down()
        finally:
            for life, _ in self.lives:
                life.close()
            super().teardown()

    def calm_down(self) -> None:
        """With a consumer bound, all that was missed is told after one more tick."""
        self.listener.bind()
        self.tick([], skipped=0)
        eventually(self._all_is_sent)
        told = {row[0]: row[1:] for row in self.conn.execute(SELECT_TOLD)}
        assert told == {one.id: _row(one) for one in self.expected.values()}
        received = self.listener.listen()
        assert received.keys() == told.keys()
        for one in received.values():
            assert _body(self.expected[one["id"]]).items() <= one.items()

    def _all_is_sent(self) -> bool:
        self.look(0, None)
        query = "SELECT count(*) FROM notification WHERE sent_at IS NULL OR error IS NOT NULL"
        return self.conn.execute(query).fetchone() == (0,)

    # --- means ------------------------------------------------------------------------------------

    def _put(self, conn: psycopg.Connection, name: str, asked: Asked, known: Alert | None) -> Alert:
        """Put an alert; one that is `known` as it is goes on being judged as before."""
        provider, condition, threshold, for_s = asked
        number = add_alert(conn, condition, threshold, for_s=for_s, provider=provider, name=name)
        put = Alert(number, *asked, self.history[-1].epoch)
        return known if known and replace(put, since_epoch=known.since_epoch) == known else put

    def _born(self) -> tuple[contextlib.ExitStack, Life]:
        life = contextlib.ExitStack()
        return life, life.enter_context(notifier_life(self.dsn, self.url))

    @contextlib.contextmanager
    def _judging(self) -> Any:
        """Have the reference judge each tick that is followed inside, by the alerts of now."""
        before = self.conn.execute(SELECT_POSITION).fetchone()
        yield
        after = self.conn.execute(SELECT_POSITION).fetchone()
        if not before or not after:
            return
        for number, tick in enumerate(self.history):
            if before[0] < tick.epoch <= after[0]:
                self.expected |= judged(self.alerts.values(), self.history[: number + 1])


def _row(told: Told) -> tuple[Any, ...]:
    tick, alert = told.tick, told.alert
    return (
        alert.id, told.provider, tick.epoch, tick.boundary, alert.condition, alert.threshold,
        told.balance, told.previous,
    )  # fmt: skip


def _body(told: Told) -> dict[str, Any]:
    tick, alert = told.tick, told.alert
    return {
        "id": told.id,
        "alert_id": alert.id,
        "source": "test",
        "condition": alert.condition,
        "threshold": None if alert.threshold is None else str(alert.threshold),
        "provider_id": told.provider,
        "balance": str(told.balance),
        "previous": None if told.previous is None else str(told.previous),
        "tick": tick.boundary.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "epoch": tick.epoch,
    }
