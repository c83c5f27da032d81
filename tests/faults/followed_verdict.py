"""What consumers had, held against Postgres: the balances of each tick, and who had to be told.

The reference for notifications (`reference_alerts`) reads the history of balances, without SQL.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from ops.followers.store import START_ANEW
from shared import follower_store
from tests.faults.difference import Difference
from tests.faults.followed import Followed
from tests.support.eventually import eventually
from tests.support.reference_alerts import Alert, PastTick, judged

ALERTS = (
    # Of each provider; thresholds that the load crosses all the time.
    (None, "below", 0, None),
    (None, "above", 500_000, None),
    (None, "change", 400_000, None),
    (None, "silent", None, 7),
    (1, "below", 100_000, None),
)
INSERT_ALERT = """
INSERT INTO alert (provider_id, condition, threshold, for_seconds, source, source_id, since_epoch)
SELECT %s, %s, %s, %s, 'faults', %s, max(epoch)
  FROM tick
"""
SELECT_ALERTS = """
SELECT id, provider_id, condition, threshold, for_seconds, since_epoch
  FROM alert
 WHERE source = 'faults'
"""
SELECT_TICKS = "SELECT epoch, token, boundary FROM tick WHERE boundary IS NOT NULL ORDER BY epoch"
SELECT_BALANCES = "SELECT epoch, provider_id, key, balance::bigint FROM balance ORDER BY epoch"
SELECT_NOTIFICATIONS = """
SELECT id, epoch, sent_at IS NOT NULL, balance::bigint::text, previous::bigint::text
  FROM notification
 WHERE alert_id IN (SELECT id FROM alert WHERE source = 'faults')
"""
ARE_AT = """
SELECT (SELECT count(*) FROM follower WHERE epoch >= %(epoch)s AND token <> ''),
       (SELECT count(*) FROM notification WHERE epoch <= %(epoch)s AND sent_at IS NULL),
       (SELECT count(*)
          FROM request
         WHERE published_at IS NULL
            OR reply_due IS NOT NULL
            OR decided_at IS NOT NULL AND xids IS NOT NULL)
"""
FOLLOWERS = 3
"""Feed, notifier, tracker."""
SHOWN_MAX = 5
STARTED_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class TickState:
    """A due tick: as the reference for alerts reads it, and what a consumer of events must have."""

    past: PastTick
    sums: dict[int, int]
    """Balances that are not zero, by provider."""
    shown: dict[str, int]
    """What KeyDB shows."""


def prepare(conn: psycopg.Connection) -> None:
    """Add alerts, and have the feed tell all that there is to consumers that are bound by now.

    Before there is any provider: then it does not matter which tick is the first one judged.
    """
    eventually(lambda: are_at(conn, 0), STARTED_TIMEOUT_S)
    for number, alert in enumerate(ALERTS):
        conn.execute(INSERT_ALERT, [*alert, str(number)])
    conn.execute(START_ANEW, {"name": "feed", "token": follower_store.ASKED_TOKEN})


def history(conn: psycopg.Connection) -> Iterator[TickState]:
    """Yield each due tick that has a boundary: all but the baseline."""
    rows = conn.execute(SELECT_BALANCES).fetchall()
    place = 0
    balances: dict[int, tuple[str | None, int]] = {}
    for epoch, token, boundary in conn.execute(SELECT_TICKS).fetchall():
        moved = set()
        while place < len(rows) and rows[place][0] <= epoch:
            _, provider, key, amount = rows[place]
            balances[provider] = key, amount
            moved.add(provider)
            place += 1
        there = {one: amount for one, (key, amount) in balances.items() if key is not None}
        yield TickState(
            PastTick(epoch, token, boundary, there, frozenset(moved)),
            {one: amount for one, (_, amount) in balances.items() if amount},
            {key: amount for key, amount in balances.values() if key is not None},
        )


def all_of(conn: psycopg.Connection, newest: int, followed: Followed) -> Iterator[Difference]:
    """Hold what came against the ticks up to the epoch `newest`."""
    ticks = [one for one in history(conn) if one.past.epoch <= newest]
    yield from of_events(ticks, followed)
    yield from of_notifications(conn, ticks, followed)


def of_events(ticks: list[TickState], followed: Followed) -> Iterator[Difference]:
    """Say where a consumer of events had other balances than the tick that it closed."""
    by_token = {one.past.token: one for one in ticks}
    epochs = [one.event["epoch"] for one in followed.closed]
    for closed in followed.closed:
        name, epoch = closed.event["id"], closed.event["epoch"]
        tick = by_token.get(name.partition(":")[0])
        if ticks and epoch > ticks[-1].past.epoch:
            continue
        if tick is None or tick.past.epoch != epoch:
            yield Difference(f"a consumer closed {name}, which is no tick", closed.at_s)
            continue
        sums = {key: amount for key, amount in closed.sums.items() if amount}
        for what, wrong in (
            ("sums", sorted(sums.items() ^ tick.sums.items())),
            ("keys", sorted(closed.shown.items() ^ tick.shown.items())),
        ):
            if wrong:
                text = f"a consumer had other {what} at tick {epoch}: {wrong[:SHOWN_MAX]}"
                yield Difference(text, closed.at_s)
    for tick in ticks:
        if tick.past.epoch > min(epochs, default=0) and tick.past.epoch not in epochs:
            yield Difference(f"a consumer never closed tick {tick.past.epoch}")


def of_notifications(
    conn: psycopg.Connection, ticks: list[TickState], followed: Followed
) -> Iterator[Difference]:
    """Say which notification was not due, which is missing, and which did not come as it was."""
    alerts = [Alert(*row) for row in conn.execute(SELECT_ALERTS)]
    past = [one.past for one in ticks]
    due = {one for end in range(2, len(past) + 1) for one in judged(alerts, past[:end])}
    rows = conn.execute(SELECT_NOTIFICATIONS).fetchall()
    written = {one: about for one, epoch, *about in rows if epoch <= past[-1].epoch}
    for wrong, ids in (
        ("was due and is not written", due - written.keys()),
        ("is written and was not due", written.keys() - due),
        ("came and is not written", followed.notifications.keys() - {row[0] for row in rows}),
    ):
        for one in sorted(ids)[:SHOWN_MAX]:
            yield Difference(f"notification {one} {wrong} ({len(ids)} such)")
    for one, (is_sent, balance, previous) in written.items():
        came = followed.notifications.get(one)
        if not is_sent:
            yield Difference(f"notification {one} is not sent")
        elif came is None:
            yield Difference(f"notification {one} is noted as sent, and never came")
        elif (came["balance"], came["previous"]) != (balance, previous):
            yield Difference(f"notification {one} came as {came}, not {balance}, {previous}")


def are_at(conn: psycopg.Connection, epoch: int) -> bool:
    """Say whether all followers have followed the tick, and all that is written is sent."""
    return conn.execute(ARE_AT, {"epoch": epoch}).fetchone() == (FOLLOWERS, 0, 0)


def newest_epoch(conn: psycopg.Connection) -> int:
    """Return the epoch of the newest due tick."""
    row = conn.execute("SELECT max(epoch) FROM tick WHERE NOT interim").fetchone()
    return int(row[0]) if row else 0
