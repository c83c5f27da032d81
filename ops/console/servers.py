"""The three servers and our services, asked as `ops status` asks them, each with its deadline."""

from collections import deque
from functools import partial
from typing import Any, NamedTuple

from ops.console.metrics import Clock
from ops.console.poll import Part, Poll
from ops.console.postgres_probe import PostgresProbe
from ops.deployment import DeploymentSettings
from ops.management_page import Page
from ops.status import probe, replicas
from ops.status.probe import COUNTED_ANEW_S, Sample, or_down
from ops.status.snapshot import Down, Ledger, Service, Shown, Snapshot, Unacknowledged
from shared.errors import Unavailable
from shared.postgres_pool import ReadingPool

ANSWER_WITHIN_S = 2.0
"""For a service: one that is frozen is said to be before the poll's deadline is over."""
ASIDE_TIMEOUT_S = 1.5
"""Of the management page, which is asked beside the broker: the broker's own answer is not lost."""


class Held:
    """What ingest holds, told from one poll to the next: no poll waits until it is certain.

    The broker counts every five seconds, so `stuck` is said once no poll for so long saw an
    acknowledgement.
    """

    def __init__(self, clock: Clock) -> None:
        """Nothing is asked yet."""
        self._clock = clock
        self._samples: deque[tuple[float, Sample]] = deque(maxlen=16)

    def __call__(self, chosen: DeploymentSettings) -> Unacknowledged | Down | None:
        """Ask the management page; None where it is not set."""
        if not chosen.rabbitmq_management_url.get_secret_value():
            return None
        try:
            now = probe.sample(Page(chosen, ASIDE_TIMEOUT_S), chosen.source)
        except Unavailable as error:
            return Down(f"management page: {error.detail}")
        return Unacknowledged(now.messages, stuck=self._is_stuck(self._clock(), now))

    def _is_stuck(self, at: float, now: Sample) -> bool:
        if not now.messages or now.rate:
            self._samples.clear()
        while self._samples and self._samples[-1][1].acknowledged != now.acknowledged:
            self._samples.pop()
        if now.messages and not now.rate:
            self._samples.append((at, now))
        return bool(self._samples) and at - self._samples[0][0] > COUNTED_ANEW_S


class Known(NamedTuple):
    """Whether Postgres wrote the tick that KeyDB showed."""

    epoch: str
    token: str
    known: bool


def parts(chosen: DeploymentSettings, pool: ReadingPool, clock: Clock) -> dict[str, Part]:
    """Return the questions to the servers and to our services, none of which waits for another."""
    held, ledger = Held(clock), PostgresProbe(chosen, clock)

    def ask_known() -> Known:
        shown = probe.ask_keydb(chosen)
        with pool.connection() as conn:
            return Known(shown.epoch, shown.token, probe.is_known(conn, shown))

    return {
        "postgres": Part(lambda: or_down(ledger)),
        "rabbitmq": Part(lambda: or_down(partial(probe.ask_rabbitmq, chosen, held))),
        "keydb": Part(lambda: or_down(partial(probe.ask_keydb, chosen))),
        "known": Part(ask_known),
        "services": Part(
            lambda: replicas.ask(chosen.addresses, starts_within_s=0, timeout_s=ANSWER_WITHIN_S)
        ),
    }


def snapshot(chosen: DeploymentSettings, poll: Poll) -> Snapshot:
    """Return what `ops status` would have found."""

    def said(part: str) -> Any:  # noqa: ANN401 - what the part says, or Down
        return Down(poll[part].error) if poll[part].error else poll[part].value

    services = poll["services"].value or []
    if poll["services"].error:
        services = [
            Service(name, f"{name}:{port}", {}, poll["services"].error)
            for name, port in chosen.addresses
        ]
    ledger, shown = said("postgres"), said("keydb")
    if not isinstance(ledger, Down):
        ledger = (ledger, _known(ledger, shown, poll["known"].value))
    return probe.together(chosen, ledger, said("rabbitmq"), shown, services)


def _known(ledger: Ledger, shown: Shown | Down, asked: Known | None) -> bool | None:
    """Return whether Postgres wrote the tick that KeyDB shows; None where that was not asked."""
    if ledger.tick is None or isinstance(shown, Down) or asked is None:
        return None
    return asked.known if (shown.epoch, shown.token) == asked[:2] else None
