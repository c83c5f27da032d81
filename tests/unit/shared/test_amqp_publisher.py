"""When a publisher may say that all it published was taken."""

import contextlib
import threading

import pika
import pytest

from shared.amqp.channel import OnConfirm
from shared.amqp.publisher import Publisher
from shared.errors import Unavailable


class Unconnected(Publisher):
    """One that published a message; `decide` is what the broker's answer calls."""

    _published = 1
    decide: OnConfirm

    def confirm(self, on_confirm: OnConfirm, on_return: object) -> None:
        del on_return
        self.decide = on_confirm


def test_a_refusal_that_came_while_something_else_was_done_is_not_forgotten() -> None:
    with contextlib.closing(Unconnected(pika.URLParameters("amqp://127.0.0.1:1"))) as publisher:
        publisher.confirm_all(threading.Event())
        publisher.decide(1, False, False)  # noqa: FBT003 - AMQP's order
        with pytest.raises(Unavailable, match="refused a message"):
            publisher.flush()


def test_what_was_taken_meanwhile_is_not_waited_for() -> None:
    with contextlib.closing(Unconnected(pika.URLParameters("amqp://127.0.0.1:1"))) as publisher:
        publisher.confirm_all(threading.Event())
        publisher.decide(1, False, True)  # noqa: FBT003 - AMQP's order
        publisher.flush()
