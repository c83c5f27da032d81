"""Watches the console as browsers do: `BENCH_VIEWERS` connections that read its events."""

import asyncio
import os

from bench.peers.broker import CONSUMING

REQUEST = "GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
CHUNK, PAGE_MAX = 2**16, 2**23
LOOK = b"event: looked"


async def watch(port: int, seen: asyncio.Semaphore) -> None:
    """Read one stream; release `seen` after its first look."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=PAGE_MAX)
    writer.write(REQUEST.encode())
    await reader.readuntil(LOOK)
    seen.release()
    while await reader.read(CHUNK):
        pass


async def main() -> None:
    """Watch until killed."""
    viewers = int(os.environ["BENCH_VIEWERS"])
    seen = asyncio.Semaphore(0)
    watching = [
        asyncio.create_task(watch(int(os.environ["BENCH_PORT"]), seen)) for _ in range(viewers)
    ]
    for _ in watching:
        await seen.acquire()
    print(CONSUMING, flush=True)
    await asyncio.gather(*watching)


if __name__ == "__main__":
    asyncio.run(main())
