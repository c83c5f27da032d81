"""Faults of whole containers: killed, stopped, frozen, cut off, replaced."""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from docker.errors import APIError
from docker.models.containers import Container

from tests.faults import work_in_hand
from tests.faults.fault import Struck
from tests.faults.logs import keep_logs
from tests.support import containers
from tests.support.eventually import eventually
from tests.support.stack import BY_HTTP, FOLLOWERS, OBSERVING, PROGRAMS, SERVERS, Stack

PAUSE_S = 5.0
CUT_S = (1.0, 5.0)
REPLICAS = {"ingest": 2, "syncer": 2, "feed": 2, "notifier": 2, "tracker": 2, "observer": 2}
"""Of all but ingests and observers one stands by, though both trackers take requests: whoever is
struck, the other is there to be in its way."""
START_TIMEOUT_S = 30.0
# As in compose.yaml.
GRACE_S = {"postgres": 60, "rabbitmq": 60}

Act = Callable[[Stack, list[Container]], None]


@dataclass(frozen=True)
class ContainerFault:
    """One of `ACTS` on one part."""

    part: str
    name: str
    act: Act

    def strike(self, stack: Stack) -> Struck:
        """Strike while there is work in hand, if that can be waited for."""
        victims = stack.containers(self.part)
        if self.part in REPLICAS and random.random() < 0.5:
            victims = [random.choice(victims)]
        in_flight = work_in_hand.await_in_hand(stack, self.part)
        self.act(stack, victims)
        return Struck(in_flight)


def kill(stack: Stack, victims: list[Container]) -> None:
    """SIGKILL, and start again."""
    for one in victims:
        one.kill()
    start(victims)


def terminate(stack: Stack, victims: list[Container]) -> None:
    """Ask to stop, as docker stop does, and start again."""
    threads = [
        threading.Thread(target=one.stop, kwargs={"timeout": GRACE_S.get(part(one), 20)})
        for one in victims
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    start(victims)


def pause(stack: Stack, victims: list[Container]) -> None:
    """Freeze for five seconds."""
    for one in victims:
        containers.freeze(one)
    try:
        threading.Event().wait(PAUSE_S)
    finally:
        for one in victims:
            one.unpause()


def cut(stack: Stack, victims: list[Container]) -> None:
    """Take it off the network for a while; it comes back under its old names."""
    with cut_off(stack, victims):
        threading.Event().wait(random.uniform(*CUT_S))


@contextlib.contextmanager
def cut_off(stack: Stack, victims: list[Container]) -> Iterator[None]:
    """Take containers off the network while inside."""
    network = stack.client.networks.get(f"{stack.project}_default")
    aliases = [one.attrs["NetworkSettings"]["Networks"][network.name]["Aliases"] for one in victims]
    for one in victims:
        network.disconnect(one, force=True)
    try:
        yield
    finally:
        for one, names in zip(victims, aliases, strict=True):
            network.connect(one, aliases=names)


def recreate(stack: Stack, victims: list[Container]) -> None:
    """Replace the container; its volume stays."""
    service = part(victims[0])
    for one in stack.containers(service):
        keep_logs(stack, one)
    options = ["--detach", "--no-deps", "--force-recreate", *scale(service)]
    stack.compose("up", *options, service)


def scale(*services: str) -> list[str]:
    """Return compose's options for as many of these as there are to be."""
    return [f"--scale={one}={count}" for one, count in REPLICAS.items() if one in services]


def start(victims: list[Container]) -> None:
    """Start containers that have ended, or are about to; on a busy machine it may take attempts."""
    for one in victims:
        one.wait()
        eventually(partial(_runs, one), START_TIMEOUT_S)


def _runs(container: Container) -> bool:
    with contextlib.suppress(APIError):
        container.start()
    container.reload()
    return container.status == "running"


def part(container: Container) -> str:
    """Return the compose service that the container is of."""
    return str(container.labels["com.docker.compose.service"])


ACTS: dict[str, Act] = {
    "SIGKILL": kill,
    "SIGTERM": terminate,
    "pause": pause,
    "network cut": cut,
    "recreate": recreate,
}
FAULTS = [
    ContainerFault(part, name, act) for part in (*PROGRAMS, *SERVERS) for name, act in ACTS.items()
] + [
    # Nobody waits for these, so they are struck in fewer ways.
    ContainerFault(part, name, ACTS[name])
    for part in (*FOLLOWERS, *BY_HTTP, *OBSERVING)
    for name in ("SIGKILL", "pause", "network cut")
]
