"""Streams of ticks: each tick once, as soon as it is known."""

import asyncio
from datetime import UTC, datetime

from services.gateway.ticks import ShownTick, Ticks

AT = datetime(2026, 11, 28, 7, tzinfo=UTC)


def shown(epoch: int) -> ShownTick:
    return ShownTick(AT, epoch, AT)


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
