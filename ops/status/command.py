"""`ops status`: once, or every few seconds."""

import sys
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import RenderableType
from rich.live import Live

from ops.answer import Answer, answering, as_json, console, say
from ops.deployment import DeploymentSettings
from ops.status import probe
from ops.status.core import Finding, assess
from ops.status.snapshot import Snapshot
from ops.status.view import view, watched
from shared import output, program, settings


@click.command(short_help="Show what is wrong, and what to type next.")
@click.option("--watch", is_flag=True, help="Look again and again until Ctrl-C.")
@click.option(
    "--every", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True,
    help="Seconds between two looks with --watch.",
)  # fmt: skip
@answering
def status(*, watch: bool, every: float) -> Answer:
    """Show all at a glance: what is wrong, and what to type next. Exit 1 if something is.

    With --watch --json each look is one JSON document in a line of its own.
    """
    chosen = settings.load(DeploymentSettings)
    snapshot = probe.take(chosen)
    if watch and as_json():
        return Answer(None, None, _code(_watch_lines(chosen, snapshot, every)))
    if watch:
        snapshot = _watch(chosen, snapshot, every)
    findings = assess(snapshot)
    return Answer(document(snapshot, findings), view(snapshot, findings), _code(findings))


def _code(findings: list[Finding]) -> int:
    return program.EXIT_FINDING if any(one.level == "wrong" for one in findings) else 0


def document(snapshot: Snapshot, findings: list[Finding]) -> dict[str, Any]:
    """Return the JSON document; `ok` is what the exit code says."""
    ok = not any(one.level == "wrong" for one in findings)
    return {
        "ok": ok,
        "looked_at": datetime.now(UTC),
        "findings": findings,
        "not_asked": snapshot.not_asked,
        "interval_s": snapshot.interval_s,
        "postgres": snapshot.postgres,
        "rabbitmq": snapshot.rabbitmq,
        "keydb": snapshot.keydb,
        "services": snapshot.services,
    }


def _watch_lines(chosen: DeploymentSettings, snapshot: Snapshot, every_s: float) -> list[Finding]:
    stop = program.stop_on_signals()
    while True:
        findings = assess(snapshot)
        say(document(snapshot, findings))
        # The reader left, or the disk is full: no further document would arrive.
        if output.failure(sys.stdout) or stop.wait(every_s):
            return findings
        snapshot = probe.take(chosen)


def _watch(chosen: DeploymentSettings, snapshot: Snapshot, every_s: float) -> Snapshot:
    stop = program.stop_on_signals()
    with Live(
        _live(snapshot, every_s), console=console(stderr=True), auto_refresh=False, transient=True
    ) as live:
        while not stop.wait(every_s):
            snapshot = probe.take(chosen)
            live.update(_live(snapshot, every_s), refresh=True)
    return snapshot


def _live(snapshot: Snapshot, every_s: float) -> RenderableType:
    return watched(snapshot, assess(snapshot), looked_at=datetime.now(UTC), every_s=every_s)
