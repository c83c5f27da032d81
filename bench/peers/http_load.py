"""Posts transactions over connections that stay open, and notes how long each answer took.

Requests are made beforehand, answers are parsed no further than needed: a request takes it a small
part of what any server in Python does. With a rate, a request's time runs from when it was due:
what waits for a connection or for us counts, too. Without one, each connection posts again as soon
as it has its answer.
"""

import asyncio
import contextlib
import heapq
import json
import os
import random
import time
from collections import Counter, deque

import uvloop

from bench.ground import PROVIDERS

TIMER_S = 0.002
BODIES = 200
ANSWER_TIMEOUT_S = 60.0


class Load:
    """All connections of one run."""

    def __init__(self, requests: list[bytes], per_s: float, count: int) -> None:
        """Nothing is posted before `run`; `count` is how many at most, 0 for no limit."""
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []
        self.late: list[float] = []
        """How late we were ourselves to notice that requests were due."""
        self._requests = requests
        self._per_s = per_s
        self._count = count
        self._posted = 0
        self._waiting = 0
        self._ended = False
        self._all_answered = asyncio.Event()
        self._idle: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._open: set[Connection] = set()

    async def run(self, port: int, connections: int, seconds: float) -> float:
        """Post for so many seconds, wait for the last answers; return how long all took."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, made = await loop.create_connection(lambda: Connection(self), "127.0.0.1", port)
            self._open.add(made)
        print(json.dumps({"begun": time.time()}), flush=True)
        begun = time.monotonic()
        self._idle.extend(self._open)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if self._per_s:
                    await self._wait_until_due(begun)
                for one in self._open:
                    self.next(one)
                await self._all_answered.wait()
        self._ended = True
        self._all_answered.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if self._waiting:
                    await self._all_answered.wait()
        return time.monotonic() - begun

    def next(self, one: "Connection") -> None:
        """Have a connection post again, or wait for what is due."""
        if self._ended or (self._count and self._posted >= self._count):
            return
        if not self._per_s:
            self._post(one, time.monotonic())
        elif self._due:
            self._post(one, self._due.popleft())
        else:
            self._idle.append(one)

    def lost(self, one: "Connection") -> None:
        """Hear that a connection was closed by the other side."""
        self._open.discard(one)
        if one.due:
            self.answered(0, one)

    def answered(self, status: int, one: "Connection") -> None:
        """Note the answer that a connection waited for; 0 if it was cut off."""
        self.statuses[status] += 1
        self.seconds.append(time.monotonic() - one.due)
        one.due = 0.0
        self._waiting -= 1
        if status:
            self.next(one)
        if not self._waiting:
            self._all_answered.set()

    async def _wait_until_due(self, begun: float) -> None:
        number = 0
        while True:
            now = time.monotonic()
            due = begun + number / self._per_s
            if due > now:
                await asyncio.sleep(min(TIMER_S, due - now))
                continue
            self.late.append(now - due)
            number += 1
            while self._idle and not self._idle[0].is_open():
                self._idle.popleft()  # a server hangs up on who says nothing for long
            if self._idle:
                self._post(self._idle.popleft(), due)
            else:
                self._due.append(due)

    def _post(self, one: "Connection", due: float) -> None:
        one.post(self._requests[self._posted % len(self._requests)], due)
        self._posted += 1
        self._waiting += 1


class Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self, load: Load) -> None:
        """`due` is when the request that waits for its answer was due; 0 while there is none."""
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._answer = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Be ready."""
        self._transport = transport

    def connection_lost(self, _exc: Exception | None) -> None:
        """Tell the load."""
        self._load.lost(self)

    def is_open(self) -> bool:
        """Say whether anything can be sent by it."""
        return self._transport is not None and not self._transport.is_closing()

    def post(self, request: bytes, due: float) -> None:
        """Send a request."""
        assert self._transport
        self.due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take a piece of the answer; once it is whole, go on."""
        if not self.due:
            return
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        status = int(self._answer[9:12])
        self._answer = b""
        self._load.answered(status, self)


def _length(head: bytes) -> int:
    lower = head.lower()
    _, found, rest = lower.partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


def requests(items: int, token: str) -> list[bytes]:
    """Return requests of so many items each: of one, an object."""
    chance = random.Random(items)

    def transaction() -> dict[str, int]:
        return {"id": chance.randint(10, PROVIDERS - 1), "value": chance.randint(100, 999)}

    made = []
    for _ in range(BODIES):
        several = [transaction() for _ in range(items)]
        body = json.dumps(several[0] if items == 1 else several).encode()
        head = (
            "POST /v1/transactions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json"
            f"\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


def percentile(values: list[float], share: float) -> float:
    """Return the least value that `share` of them do not exceed; 0 of none."""
    above = len(values) - int(len(values) * share)
    return heapq.nlargest(max(1, above), values)[-1] if values else 0.0


def main() -> None:
    """Post as `BENCH_…` says; print when it began, once connected, and what came of it, as JSON."""
    given = os.environ
    load = Load(
        requests(int(given["BENCH_ITEMS"]), given["BENCH_TOKEN"]),
        float(given.get("BENCH_PER_S", "0")),
        int(given.get("BENCH_COUNT", "0")),
    )
    port, connections = int(given["BENCH_PORT"]), int(given["BENCH_CONNECTIONS"])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        took_s = runner.run(load.run(port, connections, float(given["BENCH_SECONDS"])))
    said = {
        "seconds": took_s,
        "statuses": load.statuses,
        "median": percentile(load.seconds, 0.5),
        "p99": percentile(load.seconds, 0.99),
        "late_p99": percentile(load.late, 0.99),
        "cpu": time.process_time(),
    }
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
