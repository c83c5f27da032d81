"""A whole run: the shipped stack under load, faults upon it, and the verdict when all is quiet."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import docker
import psycopg
from docker.errors import DockerException
from docker.models.containers import Container

from shared.errors import Unavailable
from tests.faults import addresses, catalogue, verdict, work_in_hand
from tests.faults.container_faults import REPLICAS, scale
from tests.faults.corrections import Corrections, correcting, keys
from tests.faults.difference import Difference
from tests.faults.fault import Fault, title
from tests.faults.load import Load, producing_load
from tests.faults.logs import bugs, folder, keep_all_logs
from tests.faults.reader import Seen
from tests.faults.reader_process import reading
from tests.faults.sequence import EVERY_S, Strike, Striker
from tests.support import stack as stacks
from tests.support.eventually import eventually
from tests.support.keydb_snapshot import shown
from tests.support.stack import Stack

HEALTHY_TIMEOUT_S = 90.0
RIGHT_TIMEOUT_S = 120.0
SHOWN_MAX = 30
Say = Callable[[str], None]


@dataclass
class Run:
    """What is known of a run at its end."""

    strikes: list[Strike]
    facts: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    per_s: float = 0.0
    """Messages published while the broker could be reached."""
    look_s: float = 0.0
    """Between two looks of the outside reader, the median."""
    around: dict[Difference, list[str]] = field(default_factory=dict)

    def every_s(self) -> float:
        """Return the time from fault to fault, on the average."""
        return (self.strikes[-1].begun_s - self.strikes[0].begun_s) / max(len(self.strikes) - 1, 1)

    def right(self) -> bool:
        """Say whether nothing was found, and no fault failed but by missing its moment."""
        return not self.differences and all(one.missed or not one.error for one in self.strikes)

    def words(self) -> str:
        """Return the result: facts, then what was found, each with the faults around it."""
        flight = sum(one.in_flight for one in self.strikes)
        lines = [
            f"{len(self.strikes)} faults, one every {self.every_s():.1f} s, {flight} in flight"
        ]
        lines += self.facts
        lines += [f"failed to strike: {one.words()}" for one in self.strikes if one.error]
        lines += [f"{len(self.differences)} differences"]
        for one in self.differences[:SHOWN_MAX]:
            lines += [one.text, f"    around: {', '.join(self.around[one]) or 'no fault'}"]
        return "\n".join(lines)


class Campaign:
    """One stack, up and under load, to be struck."""

    def __init__(self, stack: Stack, load: Load, corrections: Corrections, say: Say) -> None:
        """Put together by `run`."""
        self._stack, self._load, self._corrections = stack, load, corrections
        self._say = say
        self._found: list[Difference] = []
        self._total = 0

    def strike(
        self, faults: Sequence[Fault], *, every_s: float = EVERY_S, until_s: float | None = None
    ) -> Striker:
        """Have `faults` strike; returns when the last is healed."""
        self._total = len(faults)
        striker = Striker(self._stack, self._ended, self._is_healthy, every_s)
        striker.run(faults, until_s)
        return striker

    def judge(self, striker: Striker, end_reading: Callable[[], Seen]) -> Run:
        """Say what is not as it must be. The load has ended; all is healed."""
        run = Run(striker.strikes)
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self._stack.unhealthy(), HEALTHY_TIMEOUT_S)
        run.differences += [Difference(f"{one} is not healthy") for one in self._stack.unhealthy()]
        run.differences += self._found
        run.differences += [Difference(line) for line in bugs(self._stack)]
        run.differences += self._settled()
        seen = end_reading()
        run.differences += seen.differences
        with psycopg.connect(addresses.postgres_dsn(self._stack, "judge"), autocommit=True) as conn:
            run.differences += seen.mixed(conn)
        run.facts = [*self._facts(), seen.looks.words()]
        run.per_s = self._load.per_s
        run.look_s = seen.looks.median_s()
        run.around = {one: striker.around(one) for one in run.differences}
        return run

    def _is_healthy(self, part: str) -> bool:
        # A service is as well as its servers: it is enough that it runs.
        wanted = "running" if part in stacks.PROGRAMS else "healthy"
        with contextlib.suppress(DockerException):
            return all(wanted in _condition(one) for one in self._stack.containers(part))
        return False

    def _ended(self, strike: Strike) -> None:
        rows = 0
        with contextlib.suppress(Unavailable, psycopg.Error):
            dsn = addresses.postgres_dsn(self._stack, "judge")
            with psycopg.connect(dsn, autocommit=True) as conn:
                rows = verdict.settled(conn)
                for text in verdict.unbalanced(conn):
                    self._found.append(Difference(text, time.monotonic()))
        rate = self._load.published / self._load.seconds
        self._say(
            f"{strike.number:4}/{self._total} {strike.words()} | {self._load.confirmed} confirmed,"
            f" {rate:.0f}/s, {self._corrections.committed} by hand,"
            f" {rows or 'unknown'} settled, {len(self._found)} differences"
        )

    def _settled(self) -> list[Difference]:
        """Wait until everything is stored and shown; return what is not by then."""
        last: list[Difference] = []

        def right() -> bool:
            try:
                last[:] = [] if self._drained() else [Difference("ingest still holds messages")]
                last.extend(self._compare())
            except (Unavailable, psycopg.Error) as error:
                last[:] = [Difference(f"cannot be read: {error}")]
            return not last

        with contextlib.suppress(AssertionError):
            eventually(right, RIGHT_TIMEOUT_S)
        return last

    def _drained(self) -> bool:
        return self._stack.messages_ready() == 0 and work_in_hand.in_hand(self._stack) == 0

    def _compare(self) -> list[Difference]:
        sent, books = self._load.sent.values(), self._corrections.books
        with psycopg.connect(addresses.postgres_dsn(self._stack, "judge"), autocommit=True) as conn:
            found = verdict.stored(conn)
            differences = [
                *verdict.of_messages(sent, found, books.providers),
                *verdict.of_corrections(conn, books),
                *verdict.of_ticks(conn),
            ]
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

    def _facts(self) -> list[str]:
        load, sent = self._load, self._load.sent.values()
        kinds = Counter(one.reason or "fit" for one in sent)
        with psycopg.connect(addresses.postgres_dsn(self._stack, "judge"), autocommit=True) as conn:
            rows = conn.execute("SELECT count(*) FROM historical_transactions").fetchone()
            letters = conn.execute("SELECT count(*) FROM dead_letter").fetchone()
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
            f"{rows} rows, {letters} dead letters, {ticks} ticks",
        ]


@contextlib.contextmanager
def standing(client: docker.DockerClient) -> Iterator[Stack]:
    """Yield the shipped stack, up, with two ingests and two syncers."""
    with stacks.project(client) as stack, catalogue.prepared(stack):
        stack.up(options=scale(*REPLICAS))
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
        with reading(stack, keys()) as reader:
            with correcting(stack, seed) as corrections, producing_load(stack, seed) as load:
                campaign = Campaign(stack, load, corrections, say)
                until_s = None if for_s is None else time.monotonic() + for_s
                striker = campaign.strike(faults, every_s=every_s, until_s=until_s)
            result = campaign.judge(striker, reader.end)
        if not result.right():
            leave(stack, seed, result)
        return result


def _condition(container: Container) -> tuple[str, str]:
    state = container.attrs["State"]
    return state["Status"], state.get("Health", {}).get("Status", "")


def leave(stack: Stack, seed: int, result: Run) -> None:
    """Write down the sequence, all logs and what was found."""
    path = folder(stack)
    sequence = [f"{one.number} {one.begun_s:.2f} {one.words()}" for one in result.strikes]
    (path / "sequence.txt").write_text("\n".join([f"seed {seed}", *sequence, ""]))
    found = [f"{one.at_s} {one.text}\n    {result.around[one]}" for one in result.differences]
    (path / "differences.txt").write_text("\n".join([result.words(), "", *found, ""]))
    keep_all_logs(stack)


def pairs(strikes: Sequence[Strike]) -> Counter[str]:
    """Count what struck by part and fault."""
    return Counter(title(one.fault) for one in strikes if not one.error)
