"""How fast the feed publishes, beside a publisher that only publishes, and beside ingest at work.

Measured, in turns on fresh ground, each with a queue bound that keeps the newest 10,000 messages:

- *the bench's publisher*: one process that publishes persistent messages without waiting for
  confirms (`bench.peers.publisher`), as fast as it can: the most that a program of ours could do.
- *the feed*: one tick of as many transactions, from the tick's row to the last confirm, all of it:
  reading, ids, JSON, publishing. Its balances are published, too, and count.
- *one large tick*: five times `--messages` (a million by default), for the feed's peak of memory.
- *missed ticks*: the feed was down while ticks came in which every provider changed.
- *beside ingest*: ingest, ticker, syncer and feed together, a tick a second, at 15,000 messages/s
  and at half of what ingest keeps up with here; then how many events came and what is left. Before
  each, the same with the bench's publisher in the feed's place, as many messages a second to the
  same exchange: what that does not reach, these cores do not have.

Not measured: consumers. Everything shares this machine's cores.
"""

import contextlib
import time
from collections.abc import Iterator
from statistics import median

import pika
import psycopg

from bench import load, programs
from bench.ground import PROVIDERS, Ground, Site, ground
from bench.result import Plan, Progress, Result, Row
from services.feed.service import EXCHANGE
from tests.support import ledger

QUESTION = "events per second, and what they are beside a publisher that does nothing else"
RATIO_MIN, PER_S_MIN, MEMORY_MIB_MAX = 0.5, 15_000, 120
LARGE_FACTOR = 5
BESIDE_S, WARM_UP_S = 30, 15
BOUND = "changes.bench"
KEEP_NEWEST = {"x-max-length": 10_000, "x-overflow": "drop-head"}
INSERT = (
    "INSERT INTO historical_transactions (provider_id, transaction_value, message_id)"
    " SELECT 10 + n %% %(providers)s, n %% 1000, 'bench-' || lpad(n::text, 9, '0')"
    " FROM generate_series(%(first)s::bigint, %(last)s) AS n"
)
EVERY_SECOND = {"TICK_INTERVAL_SECONDS": "1"}
TICK_TIMEOUT_S = 600
ROWS, SECONDS = "minutebook_ingest_rows_total", "minutebook_feed_tick_seconds"
COLUMNS: Row = dict.fromkeys((
    "what", "per second", "ratio", "ticks/s", "stored/s", "ticks behind", "peak MiB", "target"
))  # fmt: skip
ASK_EVERY_S = 0.25
"""Not more often: to serve its metrics takes the feed some milliseconds."""
AWAY_TICKS, AWAY_CHANGES, TICKS_PER_S_MIN = 100, 1000, 20
KINDS = ("transaction", "provider", "balance")


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Ask all of it; the first two `plan.runs` times in turns."""
    alone: list[float] = []
    feeds: list[float] = []
    for run in range(plan.runs):
        progress.turn(f"run {run + 1} of {plan.runs}: the bench's publisher")
        alone.append(_publisher(site, plan.messages))
        progress.turn(f"run {run + 1} of {plan.runs}: the feed")
        feeds.append(_one_tick(site, plan.messages)[0])
    large = LARGE_FACTOR * plan.messages
    progress.turn(f"one tick of {large:,} transactions")
    large_per_s, peak = _one_tick(site, large)
    ratio = median(mine / other for mine, other in zip(feeds, alone, strict=True))
    rows = [
        {"what": "the bench's publisher", "per second": median(alone)},
        {"what": f"the feed, a tick of {plan.messages:,}", "per second": median(feeds),
         "ratio": ratio, "target": RATIO_MIN},
        {"what": f"the feed, a tick of {large:,}", "per second": large_per_s,
         "peak MiB": peak, "target": MEMORY_MIB_MAX},
    ]  # fmt: skip
    for events in ("all", "balances"):
        progress.turn(f"{AWAY_TICKS} ticks missed, {events} told")
        rows.append(_away(site, events))
    progress.turn("full speed of ingest")
    full = load.full_speed(site, PROVIDERS, **EVERY_SECOND)
    for rate in (full / 2, PER_S_MIN):
        progress.turn(f"beside ingest at {rate:,.0f} messages/s: the bench's publisher")
        rows.append(null := _publisher_beside(site, rate))
        progress.turn(f"beside ingest at {rate:,.0f} messages/s: the feed")
        beside = _beside(site, rate)
        rows.append(beside | {"ratio": beside["per second"] / null["per second"]})
    rows = [COLUMNS | row for row in rows]
    return Result("feed_speed", QUESTION, rows, [f"ingest alone keeps up with {full:,.0f}/s"])


def _publisher(site: Site, count: int) -> float:
    """Return messages per second of a publisher that does not hold back."""
    with ground(site) as fresh, load.publishing(fresh, count, 1e9) as times:
        published = times()
        return len(published) / (published[-1] - published[0])


def _one_tick(site: Site, count: int) -> tuple[float, float]:
    """Return events per second of one tick of `count` transactions, and the peak of memory."""
    with (
        ground(site) as fresh,
        bound(fresh),
        psycopg.connect(fresh.dsn, autocommit=True) as conn,
        programs.service("feed").running(fresh) as feed,
    ):
        programs.said(feed, "follower_anew")
        read, before_s = _events(feed), feed.metric(f"{SECONDS}_sum")
        conn.execute(INSERT, {"providers": PROVIDERS - 20, "first": 1, "last": count})
        ledger.count_all(conn)
        programs.wait_until(
            lambda: feed.metric(f"{SECONDS}_count") >= 2,
            TICK_TIMEOUT_S,
            "the tick is not told",
            every_s=ASK_EVERY_S,
        )
        seconds = feed.metric(f"{SECONDS}_sum") - before_s
        return (_events(feed) - read) / seconds, feed.memory_peak_mib()


def _away(site: Site, told: str) -> Row:
    """Return how fast a feed is that missed ticks, each of as many changes as providers.

    All of them are two events for each change: the transaction, and the balance.
    """
    with (
        ground(site, providers=AWAY_CHANGES + 20) as fresh,
        bound(fresh),
        psycopg.connect(fresh.dsn, autocommit=True) as conn,
    ):
        with programs.service("feed", FEED_EVENTS=told).running(fresh) as feed:
            programs.said(feed, "follower_anew")
        for number in range(AWAY_TICKS):
            first = number * AWAY_CHANGES
            given = {"first": first + 1, "last": first + AWAY_CHANGES, "providers": AWAY_CHANGES}
            conn.execute(INSERT, given)
            ledger.count_all(conn)
        with programs.service("feed", FEED_EVENTS=told).running(fresh) as feed:
            name = f"{SECONDS}_count"
            programs.wait_until(lambda: feed.metric(name) >= 1, TICK_TIMEOUT_S, "none is told")
            begun, ticks, events = time.monotonic(), feed.metric(name), _events(feed)
            programs.wait_until(
                lambda: feed.metric(name) >= AWAY_TICKS,
                TICK_TIMEOUT_S,
                "not all are told",
                every_s=ASK_EVERY_S,
            )
            seconds = time.monotonic() - begun
            return {
                "what": f"{AWAY_TICKS} missed ticks of {AWAY_CHANGES:,} changes, {told} told",
                "per second": (_events(feed) - events) / seconds,
                "ticks/s": (AWAY_TICKS - ticks) / seconds,
                "peak MiB": feed.memory_peak_mib(),
                "target": TICKS_PER_S_MIN,
            }


@contextlib.contextmanager
def _core(fresh: Ground, rate: float) -> Iterator[programs.Program]:
    """Run the core beside `rate` messages/s while inside, which is ingest, warmed up."""
    with (
        load.ingesting(fresh, **EVERY_SECOND) as ingest,
        programs.service("syncer").running(fresh) as syncer,
        programs.service("ticker", **EVERY_SECOND).running(fresh),
        load.publishing(fresh, int(rate * (BESIDE_S + WARM_UP_S + 30)), rate),
    ):
        programs.said(syncer, "tick_published")
        time.sleep(WARM_UP_S)
        yield ingest


def _publisher_beside(site: Site, rate: float) -> Row:
    """Return what came of `rate` messages/s, and of as many published where events go."""
    to = {"BENCH_EXCHANGE": EXCHANGE, "BENCH_KEY": "transaction.added"}
    count = int(rate * BESIDE_S)
    with ground(site) as fresh, bound(fresh), _core(fresh, rate) as ingest:
        begun, stored = time.monotonic(), ingest.metric(ROWS)
        with load.publishing(fresh, count, rate, PROVIDERS, **to) as times:
            published = times()
        seconds = time.monotonic() - begun
        return {
            "what": f"the bench's publisher beside ingest at {rate:,.0f}/s",
            "per second": len(published) / (published[-1] - published[0]),
            "stored/s": (ingest.metric(ROWS) - stored) / seconds,
        }


def _beside(site: Site, rate: float) -> Row:
    """Return what came of `rate` messages/s, all services at work, a tick a second."""
    with (
        ground(site) as fresh,
        bound(fresh),
        programs.service("feed", **EVERY_SECOND).running(fresh) as feed,
        _core(fresh, rate) as ingest,
    ):
        begun, events, stored = time.monotonic(), _events(feed), ingest.metric(ROWS)
        time.sleep(BESIDE_S)
        seconds = time.monotonic() - begun
        return {
            "what": f"the feed beside ingest at {rate:,.0f}/s",
            "per second": (_events(feed) - events) / seconds,
            "stored/s": (ingest.metric(ROWS) - stored) / seconds,
            "ticks behind": feed.metric("minutebook_follower_lag_ticks"),
            "peak MiB": feed.memory_peak_mib(),
            "target": PER_S_MIN,
        }


def _events(feed: programs.Program) -> float:
    return sum(feed.metric(f'minutebook_feed_events_total{{about="{one}"}}') for one in KINDS)


@contextlib.contextmanager
def bound(fresh: Ground) -> Iterator[None]:
    """Bind a queue to all events; it is gone with its virtual host."""
    with contextlib.closing(
        pika.BlockingConnection(pika.URLParameters(fresh.amqp_url))
    ) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "topic", durable=True)
        channel.queue_declare(BOUND, durable=True, arguments=KEEP_NEWEST)
        channel.queue_bind(BOUND, EXCHANGE, "#")
    yield
