"""Frames of a message are those that pika itself makes."""

import pika
import pytest

from shared.amqp import publish_frames

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("traceparent", [None, TRACEPARENT])
@pytest.mark.parametrize("body", [b"", b"{}", b"x" * 4088, b"x" * 4089, b"y" * 10_000])
@pytest.mark.parametrize("name", ["transaction.added", "tick.closed", "ü" * 120])
def test_they_are_what_pika_makes(name: str, body: bytes, traceparent: str | None) -> None:
    properties = pika.BasicProperties(
        content_type="application/json",
        headers=None if traceparent is None else {"traceparent": traceparent},
        delivery_mode=2,
        message_id="a-token:t:17",
        type=name,
    )
    method = pika.spec.Basic.Publish(exchange="changes", routing_key=name)
    parts = [body[at : at + 4088] for at in range(0, len(body), 4088)] or [b""]
    theirs = [
        pika.frame.Method(7, method),
        pika.frame.Header(7, len(body), properties),
        *(pika.frame.Body(7, part) for part in parts),
    ]
    assert publish_frames.method(7, "changes", name) + publish_frames.content(
        7, name, "a-token:t:17", body, traceparent
    ) == b"".join(one.marshal() for one in theirs)


@pytest.mark.parametrize("where", ["name", "message_id"])
def test_a_text_that_amqp_cannot_carry_is_refused(where: str) -> None:
    given = {"name": "x", "message_id": "x", where: "x" * 256}
    with pytest.raises(ValueError, match="256"):
        publish_frames.content(1, given["name"], given["message_id"], b"", None)
