"""Under what identity a message that is no transaction becomes a dead letter."""

import hashlib

from shared.amqp.properties import Properties
from shared.dead_letter_store import identity


def test_a_dead_letter_of_another_queue_has_no_identity_that_a_transaction_has() -> None:
    assert identity("alerts", Properties(b"\0\x80\x01x"), b"") == "alerts:x"
    assert identity("alerts", Properties(b"\0\x80\x08alerts:x"), b"") == "alerts:x", "sent again"


def test_a_message_without_an_identity_has_one_made_of_its_content() -> None:
    made = f"alerts:{hashlib.sha256(b'no').hexdigest()}"
    for properties in (b"\0\0", b"\0\x80\x00", b"\0\x80\x01\0", b"\0\x80\x01\xff", b"\0\x80\x09x"):
        assert identity("alerts", Properties(properties), b"no") == made
