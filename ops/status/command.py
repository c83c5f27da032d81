"""`ops status`: one look, or a look every few seconds."""

import sys
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import RenderableType
from rich.live import Live

from ops.answer import Answer, answering, as_json, console, say
from ops.deployment import DeploymentSettings
from ops.status.core import Finding, judge
from ops.status.probe import look
from ops.status.snapshot import Seen
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
    seen = look(chosen)
    if watch and as_json():
        return Answer(None, None, _code(_watch_lines(chosen, seen, every)))
    if watch:
        seen = _watch(chosen, seen, every)
    findings = judge(seen)
    return Answer(document(seen, findings), view(seen, findings), _code(findings))


def _code(findings: list[Finding]) -> int:
    return program.EXIT_FINDING if any(one.level == "wrong" for one in findings) else 0


def document(seen: Seen, findings: list[Finding]) -> dict[str, Any]:
    """Return what machines are told; `ok` is what the exit code says."""
    ok = not any(one.level == "wrong" for one in findings)
    return {
        "ok": ok,
        "looked_at": datetime.now(UTC),
        "findings": findings,
        "not_asked": seen.not_asked,
        "interval_s": seen.interval_s,
        "postgres": seen.postgres,
        "rabbitmq": seen.rabbitmq,
        "keydb": seen.keydb,
        "services": seen.services,
    }


def _watch_lines(chosen: DeploymentSettings, seen: Seen, every_s: float) -> list[Finding]:
    stop = program.stop_on_signals()
    while True:
        findings = judge(seen)
        say(document(seen, findings))
        # Nobody is told any more where the reader left or the disk is full.
        if output.failure(sys.stdout) or stop.wait(every_s):
            return findings
        seen = look(chosen)


def _watch(chosen: DeploymentSettings, seen: Seen, every_s: float) -> Seen:
    stop = program.stop_on_signals()
    with Live(
        _live(seen, every_s), console=console(stderr=True), auto_refresh=False, transient=True
    ) as live:
        while not stop.wait(every_s):
            seen = look(chosen)
            live.update(_live(seen, every_s), refresh=True)
    return seen


def _live(seen: Seen, every_s: float) -> RenderableType:
    return watched(seen, judge(seen), looked_at=datetime.now(UTC), every_s=every_s)
