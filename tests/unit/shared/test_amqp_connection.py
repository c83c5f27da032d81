"""Whatever pika raises of a broker that is away is `Unavailable`, of all its families."""

import contextlib
import socket
from typing import NoReturn

import pytest
from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorStackTimeout,
)
from pika.exceptions import AMQPConnectionError, StreamLostError

from shared.amqp.connection import translating
from shared.amqp.protocol_tap import ProtocolTap
from shared.errors import Unavailable


@pytest.mark.parametrize(
    ("raised", "detail"),
    [
        (StreamLostError(), "StreamLostError (the connection was cut)"),
        (AMQPConnectionError(), "AMQPConnectionError"),
        (
            AMQPConnectionWorkflowFailed([socket.gaierror()]),
            "gaierror (host name not found)",
        ),
        (AMQPConnectorStackTimeout(), "AMQPConnectorStackTimeout (no answer in time)"),
        (ConnectionResetError(), "ConnectionResetError (the connection was cut)"),
    ],
)
def test_a_broker_that_is_away_is_said_by_the_kind_of_trouble(
    raised: Exception, detail: str
) -> None:
    with pytest.raises(Unavailable) as told, translating():
        raise raised

    assert (told.value.server, told.value.detail) == ("rabbitmq", detail)


def test_a_connection_reset_before_its_first_use_is_the_brokers_trouble_too() -> None:
    with contextlib.closing(IOLoop()) as loop, socket.socket() as reset:
        reset.setblocking(False)  # noqa: FBT003 - the socket's own signature
        services = ProtocolTap(loop, never)
        with pytest.raises(Unavailable) as told, translating():
            services.create_streaming_connection(never, reset, never)

    assert (told.value.server, told.value.detail) == ("rabbitmq", "OSError")


def never(*_: object) -> NoReturn:
    raise AssertionError


def test_a_value_that_is_wrong_is_not_the_brokers() -> None:
    with pytest.raises(ValueError, match="ours"), translating():
        raise ValueError("ours")


def test_a_bug_of_ours_is_not_the_brokers() -> None:
    with pytest.raises(KeyError), translating():
        raise KeyError
