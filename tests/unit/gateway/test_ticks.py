"""Streams of ticks: each tick once, as soon as it is known."""

import asyncio
import time
from datetime import UTC, datetime

from services.gateway.ticks import ShownTick, Ticks

AT = datetime(2026, 11, 28, 7, tzinfo=UTC)
TIMEOUT_S = 30.0


def shown(epoch: int) -> ShownTick:
    return ShownTick(AT, epoch, AT)


async def settled() -> None:
    """Let the loop take note of what is added, and the stream of that."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_a_tick_that_comes_while_the_client_reads_another_is_told_next() -> None:
    async def told() -> list[bytes]:
        ticks = Ticks()
        stream = ticks.after(0)
        found = [await anext(stream)]
        ticks.add([shown(1)])
        found.append(await anext(stream))
        ticks.add([shown(2)])  # the stream stands behind the first one
        await asyncio.sleep(0)  # the loop takes note of it
        found.append(await anext(stream))
        return found[1:]

    assert asyncio.run(told()) == [shown(1).event(), shown(2).event()]


def test_what_a_client_has_from_another_replica_is_not_told_again() -> None:
    async def told() -> list[bytes]:
        ticks = Ticks()
        ticks.add([shown(98)])
        asked_at = time.monotonic()
        stream = ticks.after(100)
        found = [await anext(stream)]
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        ticks.add([shown(99)], asked_at)  # the question was before the other's answer
        for epoch in (100, 101):
            await settled()
            ticks.add([shown(epoch)])
        async with asyncio.timeout(TIMEOUT_S):
            found.append(await waiting)
        return found[1:]

    assert asyncio.run(told()) == [shown(101).event()]


def test_after_a_restore_a_new_stream_of_a_new_process_goes_on_with_the_next_tick() -> None:
    async def told() -> list[bytes]:
        ticks = Ticks()
        ticks.add([shown(50)])
        stream = ticks.after(100)
        found = [await anext(stream)]
        waiting = asyncio.ensure_future(anext(stream))
        await settled()
        ticks.add([shown(51)])
        async with asyncio.timeout(TIMEOUT_S):
            found.append(await waiting)
        return found[1:]

    assert asyncio.run(told()) == [shown(51).event()]


def test_a_stream_that_begins_before_postgres_is_read_again_misses_no_tick() -> None:
    async def told() -> list[bytes]:
        ticks = Ticks()
        ticks.add([shown(8)])
        ticks.forget()
        stream = ticks.after(None)
        found = [await anext(stream)]
        ticks.add([shown(8), shown(9)])
        async with asyncio.timeout(TIMEOUT_S):
            found.append(await anext(stream))
        return found[1:]

    assert asyncio.run(told()) == [shown(9).event()]


def test_a_stream_that_stands_above_all_ticks_goes_on_with_the_next_one() -> None:
    async def told() -> list[bytes]:
        ticks = Ticks()
        ticks.add([shown(8)])
        stream = ticks.after(9)
        found = [await anext(stream)]
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        ticks.forget()
        ticks.add([shown(3)])
        await settled()
        ticks.add([shown(4)])
        async with asyncio.timeout(TIMEOUT_S):
            found.append(await waiting)
        return found[1:]

    assert asyncio.run(told()) == [shown(4).event()]
