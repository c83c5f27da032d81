"""Where a service can be reached from outside just now: its port changes whenever it is started."""

from typing import Literal

from shared.errors import Unavailable
from tests.support.stack import USER, Stack

Server = Literal["postgres", "rabbitmq", "keydb"]


def port(stack: Stack, service: Server, own: int) -> int:
    """Return the port of 127.0.0.1 that leads to the service's `own`. Raises `Unavailable`."""
    labels = [
        f"com.docker.compose.project={stack.project}",
        f"com.docker.compose.service={service}",
    ]
    # One cheap call: the SDK's list inspects each container, and fails if one goes meanwhile.
    for one in stack.client.api.containers(filters={"label": labels}):
        for binding in one["Ports"]:
            if binding["PrivatePort"] == own and binding.get("PublicPort"):
                return int(binding["PublicPort"])
    raise Unavailable(service, "has no port at the moment")


def ports(stack: Stack, service: str, own: int) -> list[int]:
    """Return the ports that lead to all of the service's replicas."""
    labels = [
        f"com.docker.compose.project={stack.project}",
        f"com.docker.compose.service={service}",
    ]
    return [
        int(binding["PublicPort"])
        for one in stack.client.api.containers(filters={"label": labels})
        for binding in one["Ports"]
        if binding["PrivatePort"] == own and binding.get("PublicPort")
    ]


def postgres_dsn(stack: Stack, application: str) -> str:
    """Return the DSN of a person at psql who does not wait for ever. Raises `Unavailable`."""
    return (
        f"host=127.0.0.1 port={port(stack, 'postgres', 5432)} user={USER} dbname=minutebook"
        f" password={stack.postgres_password} application_name={application} connect_timeout=5"
        " options='-c statement_timeout=20s -c lock_timeout=5s'"
    )


def amqp_url(stack: Stack) -> str:
    """Return the broker's URL as a producer has it. Raises `Unavailable`."""
    return f"amqp://{USER}:{stack.rabbitmq_password}@127.0.0.1:{port(stack, 'rabbitmq', 5672)}/%2F"
