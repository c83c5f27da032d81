"""What every connection to RabbitMQ shares: parameters, and errors translated at one seam."""

import contextlib
import random
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pika
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorAMQPHandshakeError,
    AMQPConnectorException,
    AMQPConnectorStackTimeout,
)
from pika.exceptions import (
    AMQPError,
    AMQPHeartbeatTimeout,
    ChannelClosedByBroker,
    ConnectionOpenAborted,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from shared import addresses, network_errors
from shared.errors import Denied, Refusal, Unavailable
from shared.settings import RabbitmqSettings

HEARTBEAT_S = 5
CONNECT_TIMEOUT_S = 5.0
ONE_OF_SEVERAL_TIMEOUT_S = 2.0
"""For a host's answer to a connection where there are others: one that was cut off gives none."""
ACCESS_REFUSED = 403
NOT_FOUND = 404
DESCRIPTIONS = (
    (AMQPConnectorStackTimeout, "no answer in time"),
    (ConnectionOpenAborted, "no answer in time"),  # pika's own timeout while it opens
    (StreamLostError, "the connection was cut"),
    (AMQPHeartbeatTimeout, "no heartbeat"),
    (AMQPConnectorAMQPHandshakeError, "a port that wants TLS? then amqps://"),
    (IncompatibleProtocolError, "a port that wants TLS? then amqps://"),
)
REFUSED_LOGIN = (ProbableAuthenticationError, ProbableAccessDeniedError)
# Without a reply the broker only went away meanwhile. Its text has names, and no password.
REPLY = re.compile(r"ConnectionClosedByBroker: \((?:403|530)\) ['\"](.*)['\"]+,?\)*$")
BLOCKED = "takes nothing while its alarm lasts"
"""Said of a broker that is short of memory or disk: it stops whoever publishes."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """What the broker said of a queue when it was declared."""

    name: str
    messages: int
    consumers: int


def parameters(settings: RabbitmqSettings, name: str) -> list[pika.URLParameters]:
    """Return how to connect to each host, in random order; the broker's page shows `name`.

    The order spreads connections over a cluster, and over what is left of it.
    """
    hosts = addresses.each_host(settings.rabbitmq_url.get_secret_value())
    made = [_of_host(url, settings, name) for url in random.sample(hosts, len(hosts))]
    if len(made) > 1:
        for one in made:
            one.socket_timeout = ONE_OF_SEVERAL_TIMEOUT_S
    return made


def _of_host(url: str, settings: RabbitmqSettings, name: str) -> pika.URLParameters:
    made = pika.URLParameters(url)
    if made.ssl_options is not None:  # amqps
        made.ssl_options = pika.SSLOptions(_context(settings), made.host)
    made.heartbeat = HEARTBEAT_S
    made.socket_timeout = CONNECT_TIMEOUT_S
    made.stack_timeout = CONNECT_TIMEOUT_S
    made.blocked_connection_timeout = None
    made.connection_attempts = 1
    made.client_properties = {"connection_name": f"minutebook-{name}"}
    return made


def _context(settings: RabbitmqSettings) -> ssl.SSLContext:
    """Return how to check the broker's certificate and host name, which no setting turns off."""
    try:
        context = ssl.create_default_context(cafile=settings.rabbitmq_ca_file or None)
        if settings.rabbitmq_cert_file:
            key_file = settings.rabbitmq_key_file or None
            context.load_cert_chain(settings.rabbitmq_cert_file, key_file)
    except OSError as error:  # ssl.SSLError is one
        reason = network_errors.tls_objection(error)
        raise Refusal(f"RABBITMQ_CA_FILE or its like cannot be used: {reason}") from error
    return context


@contextlib.contextmanager
def translating(to: pika.URLParameters | None = None) -> Iterator[None]:
    """Turn what the broker or the network did into `Unavailable`; let the rest pass.

    `Denied` where the broker refuses the login or a right; `to` is where we were connecting.
    """
    try:
        yield
    # Connectors' errors are no AMQPError: pika turns only a refused socket into one, and leaves
    # others as they are, a host name that cannot be resolved among them.
    except (AMQPError, AMQPConnectorException, OSError) as error:
        raise _unavailable(error, to) from error
    except ValueError as error:
        # Of pika's transport, where the connection was reset before it was first looked at.
        if not isinstance(error.__context__, OSError):
            raise
        raise Unavailable("rabbitmq", network_errors.describe(error.__context__)) from error


def _unavailable(error: Exception, to: pika.URLParameters | None) -> Unavailable:
    cause = _cause(error)
    if isinstance(cause, ChannelClosedByBroker) and cause.reply_code == ACCESS_REFUSED:
        return Denied("rabbitmq", _detail(error))
    said = REPLY.search(str(cause)) if isinstance(cause, REFUSED_LOGIN) else None
    if said and to:
        login = f"user {getattr(to.credentials, 'username', '')}, virtual host {to.virtual_host}"
        place = f"[{to.host}]" if ":" in to.host else to.host
        return Denied("rabbitmq", f"{place}:{to.port} refuses the login ({login}): {said[1]}")
    return Unavailable("rabbitmq", _detail(error))


def _cause(error: Exception) -> BaseException:
    return error.exceptions[-1] if isinstance(error, AMQPConnectionWorkflowFailed) else error


def _detail(error: Exception) -> str:
    # Never str(error) of a connection failure: pika puts addresses in it, some versions the URL.
    if isinstance(error, ChannelClosedByBroker):
        return f"the broker closed the channel: {error.reply_code} {error.reply_text}"
    return network_errors.tls_objection(error) or network_errors.describe(
        _cause(error), DESCRIPTIONS
    )
