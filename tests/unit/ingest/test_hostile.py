"""A hundred thousand hostile messages: each is what an independent reading says of it."""

import contextlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import pytest
from pika import frame, spec

from services.ingest.core import DeadLetter, Delivery, Validated, validate
from shared.amqp import amqp_json
from shared.amqp.delivery_parser import DeliveryParser
from shared.amqp.properties import MalformedProperties, Properties
from shared.transaction_body import Limits
from shared.unfit import TransactionReason
from tests.support import hostile_messages, oracle, raw_properties
from tests.support.oracle import Message

SEEDS = range(10)
MESSAGES = 10_000
LIMITS = Limits(oracle.BODY_MAX)
CHANNEL = 1
FRAME_MAX = 131_072


def validated(message: Message, delivered: Properties | None = None) -> Validated:
    found = Properties(message.encoded) if delivered is None else delivered
    received = Delivery(1, False, found, message.text, "fallback")  # noqa: FBT003
    return validate(received, LIMITS, "property")


def found(message: Message, delivered: Properties | None = None) -> tuple[str, oracle.Verdict]:
    """Return the identity and the verdict of the code under test."""
    one = validated(message, delivered)
    if isinstance(one, DeadLetter):
        return one.identity, one.reason
    return one.identity, (one.provider_id, one.value)


def expected(message: Message) -> tuple[str, oracle.Verdict]:
    return message.identity or "fallback", message.verdict()


@pytest.mark.parametrize("seed", SEEDS)
def test_each_is_what_a_plain_reading_says_and_has_the_identity_that_it_was_given(
    seed: int,
) -> None:
    seen: Counter[str] = Counter()
    for message in hostile_messages.Source(seed).messages(MESSAGES):
        assert found(message) == expected(message), message
        verdict = message.verdict()
        seen[verdict if isinstance(verdict, str) else "fit"] += 1
    elsewhere = {"unknown_provider", "id_conflict", "refused_by_database", "wrong_shard"}
    assert set(seen) == {"fit", *get_args(TransactionReason)} - elsewhere
    assert min(seen.values()) > MESSAGES / 500, "some kind of message is hardly there"


def test_a_seed_gives_the_same_messages_again() -> None:
    once, again = (list(hostile_messages.Source(7).messages(500)) for _ in range(2))
    assert once == again
    assert once != list(hostile_messages.Source(8).messages(500))


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_cut_out_of_a_connection_in_pieces_of_any_size_they_are_the_same(seed: int) -> None:
    sent = list(hostile_messages.Source(seed).messages(2000))
    came: list[Message] = []

    def take(tag: int, _: object, properties: Properties, text: bytes) -> None:
        message = sent[tag]
        assert (text, properties.encoded) == (message.text, message.encoded)
        assert found(message, properties) == expected(message)
        came.append(message)

    deliveries = DeliveryParser(lambda rest: pytest.fail(f"left over: {rest!r}"))
    deliveries.start(CHANNEL, take)
    for piece in pieces(sent, seed):
        deliveries.feed(piece)
    assert came == sent


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_properties_damaged_at_random_are_read_or_malformed_and_always_kept(seed: int) -> None:
    chance = random.Random(seed)
    for message in hostile_messages.Source(seed).messages(3000):
        raw = bytearray(message.encoded)
        for _ in range(chance.randint(1, 3)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        damaged = Properties(
            bytes(raw[: chance.choice((len(raw), chance.randrange(len(raw) + 1)))])
        )
        amqp_json.encode(damaged.all())
        with contextlib.suppress(MalformedProperties):
            _ = damaged.headers, damaged.message_id
        validated(message, damaged)


def test_how_deep_a_body_may_be_does_not_depend_on_how_deep_its_reader_is() -> None:
    def deep(levels: int, call: Any) -> Any:
        return deep(levels - 1, call) if levels else call()

    for depth, verdict in ((oracle.DEPTH_MAX, (1, 2)), (oracle.DEPTH_MAX + 1, "not_json")):
        inside = "[" * (depth - 1) + "]" * (depth - 1)
        message = Message(
            b'{"id":1,"value":2,"n":%s}' % inside.encode(), raw_properties.properties()
        )
        for stack in (0, 100, 250):
            assert deep(stack, lambda one=message: found(one)) == ("fallback", verdict)


@pytest.mark.parametrize("text", ['{"n":"%s' % ("[" * 600 + '\\"' * 32_000), "[]" * 32_000])
def test_a_body_that_is_all_quotes_and_brackets_is_read_in_one_go(text: str) -> None:
    assert found(Message(text.encode(), raw_properties.properties())) == ("fallback", "not_json")


def pieces(sent: Sequence[Message], seed: int) -> Iterator[bytes]:
    """Yield what a broker would write, in pieces: single bytes, parts of frames, many frames."""
    chance = random.Random(seed)
    kept = b""
    for tag, message in enumerate(sent):
        kept += delivery(tag, message)
        while len(kept) > 4000:
            size = chance.choice((1, 7, 8, 500, 3000, 70_000))
            yield kept[:size]
            kept = kept[size:]
    yield kept


def delivery(tag: int, message: Message) -> bytes:
    """Return the frames of one delivery."""
    method = spec.Basic.Deliver("consumer", tag, exchange="", routing_key="q")
    given = raw_properties.Encoded(message.encoded)
    frames = [frame.Method(CHANNEL, method), frame.Header(CHANNEL, len(message.text), given)]
    return b"".join(one.marshal() for one in (*frames, *in_frames(message.text)))


def in_frames(text: bytes) -> Iterator[frame.Body]:
    """Yield a body in as many frames as it takes."""
    for at in range(0, len(text), FRAME_MAX):
        yield frame.Body(CHANNEL, text[at : at + FRAME_MAX])
