"""A whole run: the shipped stack under load, faults on it, and the verdict when all is quiet."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import docker
import psycopg

from shared.errors import Unavailable
from tests.faults import (
    addresses,
    catalogue,
    clients,
    followed,
    followed_verdict,
    price_mixture,
    reader,
    request_mixture,
    request_verdict,
    service_health,
    verdict,
    work_in_hand,
)
from tests.faults.clients import Posted
from tests.faults.container_faults import REPLICAS, scale
from tests.faults.corrections import Corrections, correcting, keys
from tests.faults.difference import Difference
from tests.faults.fault import Fault
from tests.faults.followed import Followed
from tests.faults.load import Load, producing_load
from tests.faults.logs import bugs
from tests.faults.reader import Seen
from tests.faults.run import Run, leave
from tests.faults.sequence import EVERY_S, Strike, Striker
from tests.faults.side_process import SideProcess, beside
from tests.faults.sightings import Sightings
from tests.support import stack as stacks
from tests.support.eventually import eventually
from tests.support.keydb_snapshot import shown
from tests.support.stack import Stack

HEALTHY_TIMEOUT_S, RIGHT_TIMEOUT_S = 90.0, 120.0
Say = Callable[[str], None]


class Campaign:
    """One stack, up and under load, to be struck."""

    def __init__(self, stack: Stack, load: Load, corrections: Corrections, say: Say) -> None:
        """Put together by `run`."""
        self._stack, self._load, self._corrections = stack, load, corrections
        self.prices: Load | None = None
        self.sightings: Sightings | None = None
        self._say = say
        self._posted = Posted()
        self._found: list[Difference] = []
        self._total = 0

    def strike(
        self, faults: Sequence[Fault], *, every_s: float = EVERY_S, until_s: float | None = None
    ) -> Striker:
        """Have `faults` strike; returns when the last is healed."""
        self._total = len(faults)
        is_up = partial(service_health.is_up, self._stack)
        striker = Striker(self._stack, self._ended, is_up, every_s)
        striker.run(faults, until_s)
        return striker

    def assess(
        self,
        striker: Striker,
        looking: SideProcess[Seen],
        consuming: SideProcess[Followed],
        posted: Posted,
    ) -> Run:
        """Say what is not as it must be. The load has ended; all is healed."""
        run, self._posted = Run(striker.strikes), posted
        with contextlib.suppress(AssertionError):
            service_health.await_healthy(self._stack, HEALTHY_TIMEOUT_S)
        unhealthy = service_health.unhealthy(self._stack)
        run.differences += [Difference(f"{one} is not healthy") for one in unhealthy]
        run.differences += self._found + posted.differences
        run.differences += [Difference(line) for line in bugs(self._stack)]
        run.differences += self.settled()
        seen = looking.end()
        run.differences += seen.differences
        came, differences = self._followed(consuming)
        run.differences += differences
        with psycopg.connect(addresses.postgres_dsn(self._stack, "probe"), autocommit=True) as conn:
            run.differences += seen.mixed(conn)
        run.facts = [*self.facts(), seen.looks.describe(), came.describe(), posted.describe()]
        run.per_s = self._load.per_s
        run.look_s = seen.looks.median_s()
        run.around = {one: striker.around(one) for one in run.differences}
        return run

    def _ended(self, strike: Strike) -> None:
        rows = 0
        with contextlib.suppress(Unavailable, psycopg.Error):
            dsn = addresses.postgres_dsn(self._stack, "probe")
            with psycopg.connect(dsn, autocommit=True) as conn:
                rows = verdict.settled(conn)
                for text in verdict.unbalanced(conn):
                    self._found.append(Difference(text, time.monotonic()))
        rate = self._load.published / self._load.seconds
        self._say(
            f"{strike.number:4}/{self._total} {strike.describe()} |"
            f" {self._load.confirmed} confirmed, {rate:.0f}/s,"
            f" {self._corrections.committed} by hand,"
            f" {rows or 'unknown'} settled, {len(self._found)} differences"
        )

    def settled(self) -> list[Difference]:
        """Wait until everything is stored and shown; return what is not by then."""
        last: list[Difference] = []

        def right() -> bool:
            try:
                last[:] = (
                    []
                    if work_in_hand.all_taken(self._stack)
                    else [Difference("ingest still holds messages")]
                )
                last.extend(self._compare())
            except (Unavailable, psycopg.Error) as error:
                last[:] = [Difference(f"cannot be read: {error}")]
            return not last

        with contextlib.suppress(AssertionError):
            eventually(right, RIGHT_TIMEOUT_S)
        return last

    def _compare(self) -> list[Difference]:
        books = self._corrections.books
        with psycopg.connect(addresses.postgres_dsn(self._stack, "probe"), autocommit=True) as conn:
            found = verdict.stored(conn)
            requests = request_verdict.requests(conn, self._posted.postings)
            sent = [*self._load.sent.values(), *request_verdict.sent(requests).values()]
            sent += price_mixture.unfit(self.prices)
            differences = [
                *price_mixture.of_prices(conn, self.prices),
                *request_verdict.of_keys(requests),
                *verdict.of_messages(sent, found, books.providers),
                *verdict.of_corrections(conn, books),
                *verdict.of_ticks(conn),
            ]
            differences += self.sightings.differences(conn) if self.sightings else []
            expected = verdict.balances(sent, found, books)
            differences += verdict.of_balances(expected, verdict.newest(conn), "Postgres")
        boundary = time.time() + stacks.INTERVAL_S
        with self._stack.keydb() as store:

            def reached() -> bool:
                mark = store.hget("minutebook:watermark", "boundary")
                return verdict.boundary_of(str(mark or "")) >= boundary

            eventually(reached, 60)
            seen = shown(store, *keys()).values
        values = {key: value for key, value in seen.items() if value is not None}
        return differences + list(verdict.of_balances(expected, values, "KeyDB"))

    def _followed(self, consuming: SideProcess[Followed]) -> tuple[Followed, list[Difference]]:
        """Wait until all followers have done all; hold what their consumers had against that."""
        with psycopg.connect(addresses.postgres_dsn(self._stack, "probe"), autocommit=True) as conn:
            newest = followed_verdict.newest_epoch(conn)
            with contextlib.suppress(AssertionError):  # then what is missing is found below
                eventually(lambda: followed_verdict.are_at(conn, newest), RIGHT_TIMEOUT_S)
            came = consuming.end()
            return came, [
                *came.differences,
                *followed_verdict.all_of(conn, newest, came),
                *request_verdict.all_of(self._stack, conn, self._posted.postings, came.replies),
            ]

    def facts(self) -> list[str]:
        """Return what was sent, corrected and stored, a line each."""
        load, sent = self._load, self._load.sent.values()
        kinds = Counter(one.reason or "fit" for one in sent)
        with psycopg.connect(addresses.postgres_dsn(self._stack, "probe"), autocommit=True) as conn:
            rows = conn.execute("SELECT count(*) FROM historical_transactions").fetchone()
            dead_letters = conn.execute("SELECT count(*) FROM dead_letter").fetchone()
            ticks = conn.execute("SELECT count(*) FROM tick").fetchone()
        return [
            (
                f"{load.published} messages published in {load.ended_after_s:.0f} s"
                f" ({load.published / load.ended_after_s:.0f}/s, {load.per_s:.0f}/s connected),"
                f" {load.confirmed} confirmed,"
                f" {load.reconnects} reconnects, {len(sent)} contents: {dict(kinds)}"
            ),
            (
                f"{sum(one.published > 1 for one in sent)} published more than once,"
                f" {sum(not one.confirmed for one in sent)} never confirmed"
            ),
            (
                f"{self._corrections.committed} corrections by hand,"
                f" {self._corrections.asked_again} asked again after a lost answer"
            ),
            f"{rows} rows, {dead_letters} dead letters, {ticks} ticks",
        ]


@contextlib.contextmanager
def standing(client: docker.DockerClient) -> Iterator[Stack]:
    """Yield the shipped stack with all around it, up, two of each part that may be two."""
    with stacks.project(client) as stack, catalogue.prepared(stack):
        stack.settings["COMPOSE_PROFILES"] = ",".join(
            (*stacks.FOLLOWERS, "gateway", *stacks.OBSERVING)
        )
        service_health.start(stack, *scale(*REPLICAS))
        yield stack


def run(
    client: docker.DockerClient,
    faults: Sequence[Fault],
    seed: int,
    *,
    say: Say = print,
    every_s: float = EVERY_S,
    for_s: float | None = None,
) -> Run:
    """Have `faults` strike a stack of their own; what is found is also left in build/soak."""
    with standing(client) as stack:
        say(f"seed {seed}, {len(faults)} faults, stack {stack.project}")
        look, consume = partial(reader.read, keys()), followed.consume
        with beside(stack, look) as looking, beside(stack, consume) as consuming:
            with stack.postgres() as conn:
                followed_verdict.prepare(conn)
                request_mixture.prepare(conn)
            with (
                correcting(stack, seed) as corrections,
                producing_load(stack, seed) as load,
                price_mixture.producing(stack, seed) as prices,
                beside(stack, partial(clients.post, seed)) as posting,
                Sightings(stack).flowing() as sightings,
            ):
                campaign = Campaign(stack, load, corrections, say)
                campaign.prices, campaign.sightings = prices, sightings
                until_s = None if for_s is None else time.monotonic() + for_s
                striker = campaign.strike(faults, every_s=every_s, until_s=until_s)
                posted = posting.end()
            result = campaign.assess(striker, looking, consuming, posted)
        if not result.right():
            leave(stack, seed, result)
        return result
