"""What is fuzzed holds for what the fuzzer begins with, and notices what should not be."""

import pytest

from fuzz import targets
from fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_passes(name: str) -> None:
    seeds = list(TARGETS[name].seeds())
    assert len(seeds) > 100
    for seed in (b"", *seeds):
        TARGETS[name].run(seed)


def test_the_frames_of_a_stream_hold_all_of_what_was_put_into_it() -> None:
    stream, messages = targets.written(bytes(range(256)))
    assert len(messages) == 16
    assert targets.seen([stream]) == (messages, stream_without_deliveries(stream), False)


def stream_without_deliveries(stream: bytes) -> bytes:
    heartbeat = targets.framed(8, b"", 0)
    return heartbeat * stream.count(heartbeat)
