"""Whatever pika raises of a broker that is away is `Unavailable`, of all its families."""

import socket

import pytest
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorStackTimeout,
)
from pika.exceptions import AMQPConnectionError, StreamLostError

from shared.amqp.link import translating
from shared.errors import Unavailable


@pytest.mark.parametrize(
    ("raised", "detail"),
    [
        (StreamLostError(), "StreamLostError"),
        (AMQPConnectionError(), "AMQPConnectionError"),
        (AMQPConnectionWorkflowFailed([socket.gaierror()]), "gaierror"),
        (AMQPConnectorStackTimeout(), "AMQPConnectorStackTimeout"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_a_broker_that_is_away_is_said_by_the_kind_of_trouble(
    raised: Exception, detail: str
) -> None:
    with pytest.raises(Unavailable) as told, translating():
        raise raised

    assert (told.value.server, told.value.detail) == ("rabbitmq", detail)


def test_a_bug_of_ours_is_not_the_brokers() -> None:
    with pytest.raises(KeyError), translating():
        raise KeyError
