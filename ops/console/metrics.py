"""What ingest and the syncer count, read from their ports: rates and commits of the last while."""

import math
import socket
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from ops import direct_http
from ops.deployment import DeploymentSettings

ASKED = ("ingest", "syncer")
TIMEOUT_S = 1.0
WINDOW_S = 30.0
"""Rates are of so long, or of as long as somebody has looked."""
POLLS_KEPT = 16
P99 = 0.99

Clock = Callable[[], float]
"""Returns seconds, and never goes back."""
Values = Mapping[str, float]
"""By name, with the labels as they are written."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One process: what it counts now, a while (`over_s` seconds) ago, and at the last poll."""

    name: str
    address: str
    now: Values
    before: Values
    over_s: float
    last: Values

    def rate(self, counter: str) -> float | None:
        """Return how much a counter grew per second; None after one poll, or a restart."""
        grown = self.now.get(counter, 0) - self.before.get(counter, 0)
        return grown / self.over_s if self.over_s and grown >= 0 else None

    def grown_lately(self, counter: str) -> bool:
        """Say whether a counter grew since the last poll, or since the process began after it."""
        now, last = self.now.get(counter, 0), self.last.get(counter)
        return last is not None and (now > last or 0 < now < last)

    def p99(self, histogram: str) -> float | None:
        """Return the upper bound of the bucket that holds the 99th percentile; None of nothing."""
        bounds = sorted(_buckets(histogram, self.now, self.before))
        if not bounds or bounds[-1][1] <= 0:
            return None
        return next(bound for bound, count in bounds if count >= P99 * bounds[-1][1])


class Scraper:
    """Reads every replica; used from one thread at a time."""

    def __init__(
        self, chosen: DeploymentSettings, clock: Clock, names: Collection[str] = ASKED
    ) -> None:
        """Nothing is read yet."""
        self._places = [one for one in chosen.addresses if one[0] in names]
        self._clock = clock
        self._polls: dict[str, deque[tuple[float, Values]]] = {}

    def read(self) -> list[Replica]:
        """Return those that answer; who does not is told by `ops status`'s own question."""
        found = [one for name, port in self._places for one in self._of(name, port)]
        self._polls = {one.address: self._polls[one.address] for one in found}
        return found

    def _of(self, name: str, port: int) -> Iterator[Replica]:
        try:
            infos = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except OSError:
            return
        for host in sorted({str(info[4][0]) for info in infos}):
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            values = _scrape(f"http://{address}/metrics")
            if values is not None:
                yield self._compared(name, address, values)

    def _compared(self, name: str, address: str, now: Values) -> Replica:
        at = self._clock()
        polls = self._polls.setdefault(address, deque(maxlen=POLLS_KEPT))
        while polls and at - polls[0][0] > WINDOW_S:
            polls.popleft()
        (then, before), (_, last) = (polls[0], polls[-1]) if polls else ((at, {}), (at, {}))
        polls.append((at, now))
        return Replica(name, address, now, before, at - then, last)


def _scrape(url: str) -> Values | None:
    try:
        with direct_http.ask(url, timeout_s=TIMEOUT_S) as answer:
            return parse(answer.read().decode())
    except (OSError, ValueError):
        return None


def parse(text: str) -> Values:
    """Return the values of a page of metrics, by name and labels."""
    return {
        _named(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _named(name: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name


def _buckets(histogram: str, now: Values, before: Values) -> Iterator[tuple[float, float]]:
    start = f'{histogram}_bucket{{le="'
    for name, count in now.items():
        if name.startswith(start):
            bound = float(name.removeprefix(start).removesuffix('"}'))
            yield (math.inf if math.isinf(bound) else bound), count - before.get(name, 0)
