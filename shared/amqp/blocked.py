"""A broker short of memory or disk takes nothing from producers: what a service says of that."""

import structlog

from shared.health import Health

log = structlog.get_logger()


def report_blocked(health: Health, part: str, reason: str | None) -> None:
    """Have `part` be unhealthy for this reason, or with None healthy again; `Channel` tells us."""
    log_blocked(reason)
    if reason is None:
        health.progress(part)
    else:
        health.problem(part, reason)


def log_blocked(reason: str | None) -> None:
    """Say so in the log alone."""
    if reason is not None:
        log.warning("broker_blocks", hint="memory or disk alarm: it takes nothing")
