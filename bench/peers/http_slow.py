"""Many clients that send a byte of a request now and then, until they are answered or cut off."""

import asyncio
import json
import os
from collections import Counter

import uvloop

HEAD = b"POST /v1/transactions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"x" * 10_000
BYTE_EVERY_S = 1.0
AT_ONCE = 200
"""Connections that are being opened at one time."""


async def client(port: int, outcomes: Counter[str], opening: asyncio.Semaphore) -> None:
    """Be one of them; note the status that it was answered, or that it was cut off."""
    try:
        async with opening:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        outcomes[type(error).__name__] += 1
        return
    sending = asyncio.create_task(_trickle(writer))
    try:
        answer = await reader.read(65_536)
        outcomes[answer[9:12].decode() or "cut off"] += 1
    except OSError:
        outcomes["cut off"] += 1
    finally:
        sending.cancel()
        writer.close()


async def _trickle(writer: asyncio.StreamWriter) -> None:
    for byte in HEAD:
        writer.write(bytes((byte,)))
        await asyncio.sleep(BYTE_EVERY_S)


async def run(port: int, clients: int, seconds: float) -> Counter[str]:
    """Return how many met which end; `open` are those that met none in time."""
    outcomes: Counter[str] = Counter()
    opening = asyncio.Semaphore(AT_ONCE)
    tasks = [asyncio.create_task(client(port, outcomes, opening)) for _ in range(clients)]
    _, left = await asyncio.wait(tasks, timeout=seconds)
    if left:
        outcomes["open"] = len(left)
    return outcomes


def main() -> None:
    """Be `BENCH_CLIENTS` clients for `BENCH_SECONDS` at most; print their ends as JSON."""
    given = os.environ
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        wanted = run(
            int(given["BENCH_PORT"]), int(given["BENCH_CLIENTS"]), float(given["BENCH_SECONDS"])
        )
        print(json.dumps(runner.run(wanted)), flush=True)


if __name__ == "__main__":
    main()
