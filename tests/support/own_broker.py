"""A broker that only one file of tests uses, since they change how it is as a whole."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import docker
from docker.models.containers import Container

from tests.support import outages, servers
from tests.support.eventually import eventually

RESOURCE = "{resource_limit, memory, node()}"


@dataclass(frozen=True)
class OwnBroker:
    """The broker and its container."""

    server: servers.Rabbitmq
    container: Container

    def evaluate(self, *expressions: str) -> str:
        """Have the broker evaluate Erlang; returns what the last one is."""
        return evaluate(self.container, *expressions)

    def alarmed(self) -> bool:
        """Say whether its memory alarm rings."""
        return all(node.get("mem_alarm", False) for node in self.server.manage("GET", "nodes"))

    @contextlib.contextmanager
    def alarm(self) -> Iterator[None]:
        """Let its memory alarm ring while inside: it takes nothing from who publishes."""
        with alarm(self.container):
            eventually(self.alarmed)
            yield


def evaluate(broker: Container, *expressions: str) -> str:
    """Have a broker evaluate Erlang; returns what the last one is."""
    ran = broker.exec_run(["rabbitmqctl", "eval", ", ".join(expressions) + "."])
    assert ran.exit_code == 0, ran.output
    assert isinstance(ran.output, bytes)
    return ran.output.decode().strip()


@contextlib.contextmanager
def alarm(broker: Container) -> Iterator[None]:
    """Let a broker's memory alarm ring while inside: it takes nothing from who publishes."""
    evaluate(broker, f"rabbit_alarm:set_alarm({{{RESOURCE}, []}})")
    with outages.afterwards(lambda: evaluate(broker, f"rabbit_alarm:clear_alarm({RESOURCE})")):
        yield


@contextlib.contextmanager
def started(engine: docker.DockerClient) -> Iterator[OwnBroker]:
    """Start one; it goes at the end."""
    pinning = outages.FixedPorts(engine)
    with servers.rabbitmq(pinning.engine()) as server:
        yield OwnBroker(server, pinning.container)
