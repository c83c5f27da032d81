"""One poll for all viewers: shared, with a deadline and a failure for each part."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from ops.console import poll
from ops.console.poll import Part, Poll, Poller
from shared.errors import Unavailable


@pytest.fixture(autouse=True)
def _quick_and_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "EVERY_S", 0.01)
    monkeypatch.setattr(poll, "DEADLINE_S", 30)  # a busy machine may take longer than a viewer


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """What a server that hangs waits for."""
    event = threading.Event()
    yield event
    event.set()


def counting() -> tuple[Callable[[], int], list[int]]:
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        return len(asked)

    return ask, asked


def test_viewers_share_a_look() -> None:
    ask, asked = counting()

    async def watch() -> list[Poll]:
        poller = Poller({"part": Part(ask)})
        return await asyncio.gather(*(poller.after(0) for _ in range(200)))

    polls = asyncio.run(watch())

    assert {one.number for one in polls} == {1}
    assert len(asked) == 1


def test_nobody_who_watches_is_no_look() -> None:
    ask, asked = counting()

    async def watch() -> None:
        poller = Poller({"part": Part(ask)})
        await poller.after(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}  # nothing goes on by itself

    asyncio.run(watch())

    assert len(asked) == 1


def test_a_viewer_who_leaves_does_not_end_the_look_of_the_others(held: threading.Event) -> None:
    begun = threading.Event()

    def ask() -> bool:
        begun.set()
        return held.wait()

    async def watch() -> Poll:
        poller = Poller({"part": Part(ask)})
        leaving = asyncio.create_task(poller.after(0))
        staying = asyncio.create_task(poller.after(0))
        await asyncio.to_thread(begun.wait)
        leaving.cancel()
        held.set()
        return await staying

    assert asyncio.run(watch())["part"].value is True


def test_a_part_that_fails_says_why_and_the_others_go_on() -> None:
    def fails() -> None:
        raise Unavailable("postgres", "it is away")

    def is_a_bug() -> None:
        raise KeyError("password")

    async def watch() -> Poll:
        parts = {"down": Part(fails), "bug": Part(is_a_bug), "up": Part(lambda: 1)}
        return await Poller(parts).after(0)

    found = asyncio.run(watch())

    assert found["down"].error == "postgres: it is away"
    assert found["bug"].error == "bug: KeyError, see the log"
    assert found["up"].value == 1
    assert found["other"].error == "not asked yet"


def test_a_part_that_hangs_is_said_and_asked_once(
    monkeypatch: pytest.MonkeyPatch, held: threading.Event
) -> None:
    monkeypatch.setattr(poll, "DEADLINE_S", 0.5)
    asked: list[int] = []

    def hangs() -> bool:
        asked.append(1)
        return held.wait()

    async def watch() -> tuple[Poll, Poll, Poll]:
        poller = Poller({"hangs": Part(hangs), "up": Part(lambda: 1)})
        first, second = await poller.after(0), await poller.after(1)
        monkeypatch.setattr(poll, "DEADLINE_S", 30)
        held.set()
        return first, second, await poller.after(2)

    first, second, third = asyncio.run(watch())

    assert first["hangs"].error == second["hangs"].error == "no answer within 0.5 s"
    assert (first["up"].value, second["up"].value) == (1, 1)
    assert third["hangs"].value is True
    assert len(asked) == 1


def test_what_is_asked_seldom_holds_nobody_up_and_is_kept(held: threading.Event) -> None:
    asked: list[int] = []

    def dear() -> int:
        held.wait()
        asked.append(1)
        return len(asked)

    async def watch() -> tuple[Poll, Poll]:
        poller = Poller({"dear": Part(dear, seldom=True)})
        first = found = await poller.after(0)
        held.set()
        while found["dear"].value is None:
            found = await poller.after(found.number)
        return first, await poller.after(found.number)

    first, last = asyncio.run(watch())

    assert first["dear"].error == "not asked yet"
    assert last["dear"].value == 1
    assert len(asked) == 1


def test_what_is_asked_seldom_does_not_slow_the_others_down() -> None:
    begun = threading.Event()
    parts = {"dear": Part(begun.set, seldom=True), "quick": Part(lambda: begun.wait(0.3))}

    assert asyncio.run(Poller(parts).after(0))["quick"].value is False
    assert begun.wait(30)
