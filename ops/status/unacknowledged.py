"""Messages that ingest has in hand: only the broker's management page knows how many.

The page counts every five seconds, so one look cannot tell what is held from what was just passing:
whoever seems to acknowledge nothing is looked at until the page must have counted anew.
"""

import time
from typing import NamedTuple

from ops.deployment import DeploymentSettings
from ops.doctor.rabbitmq_checks import Page
from ops.status.snapshot import Down, Unacknowledged
from shared.errors import Unavailable

COUNTED_ANEW_S = 6.0
PAUSE_S = 0.5


class Sample(NamedTuple):
    """Messages in hand, how many were ever acknowledged, and how many in a second of late."""

    messages: int
    acknowledged: int
    rate: float


def look(chosen: DeploymentSettings) -> Unacknowledged | Down | None:
    """Return what is in hand; None where nobody said where the page is. Takes up to 6 s."""
    if not chosen.rabbitmq_management_url.get_secret_value():
        return None
    page = Page(chosen)
    try:
        first = now = _sample(page, chosen.source)
        if not first.messages or first.rate:
            return Unacknowledged(first.messages, stuck=False)
        until = time.monotonic() + COUNTED_ANEW_S
        while time.monotonic() < until:
            time.sleep(PAUSE_S)
            now = _sample(page, chosen.source)
            if not now.messages or now.acknowledged != first.acknowledged:
                return Unacknowledged(now.messages, stuck=False)
    except Unavailable as error:
        return Down(f"management page: {error.detail}")
    return Unacknowledged(now.messages, stuck=True)


def _sample(page: Page, queue: str) -> Sample:
    found = page.queue(queue)
    stats = found.get("message_stats") or {}
    rate = (stats.get("ack_details") or {}).get("rate", 0.0)
    return Sample(found.get("messages_unacknowledged", 0), stats.get("ack", 0), rate)
