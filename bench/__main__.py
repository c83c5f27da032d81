"""`python -m bench`: every question in turn, a table for each, all figures as JSON."""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import structlog
from docker.errors import APIError, DockerException, ImageNotFound
from rich.console import Console

from bench import (
    against,
    console_speed,
    feed_lateness,
    feed_speed,
    gateway_speed,
    ingest_growth,
    ingest_latency,
    ingest_memory,
    ingest_outage,
    ingest_scale,
    ingest_speed,
    ingest_unfit,
    ingest_waiting,
    notifier_speed,
    observer_speed,
    shards,
    tick_growth,
    tick_lateness,
    tick_soak,
    tick_vacuum,
    tick_volume,
    ticker_lateness,
    versions,
)
from bench.ground import Site, site
from bench.result import Plan, Progress, Result
from ops import tables
from shared import program

ABOUT = """\
Measures Minutebook beside peers, on servers of its own in containers that are gone afterwards.
Everything shares this machine: compare figures of one run with each other only."""
Question = Callable[[Site, Plan, Progress], Result]
QUESTIONS: dict[str, Question] = {
    "ingest_speed": ingest_speed.measure,
    "ingest_latency": ingest_latency.measure,
    "ingest_scale": ingest_scale.measure,
    "ingest_memory": ingest_memory.measure,
    "ingest_unfit": ingest_unfit.measure,
    "ingest_waiting": ingest_waiting.measure,
    "ingest_outage": ingest_outage.measure,
    "ingest_growth": ingest_growth.measure,
    "shards": shards.measure,
    "tick_lateness": tick_lateness.measure,
    "tick_volume": tick_volume.measure,
    "tick_growth_kept": tick_growth.kept,
    "tick_growth_repeated": tick_growth.repeated,
    "tick_vacuum": tick_vacuum.measure,
    "tick_soak": tick_soak.measure,
    "ticker_lateness": ticker_lateness.measure,
    "feed_speed": feed_speed.measure,
    "feed_lateness": feed_lateness.measure,
    "notifier_speed": notifier_speed.measure,
    "console_speed": console_speed.measure,
    "gateway_speed": gateway_speed.measure,
    "observer_speed": observer_speed.measure,
}
AGAINST: dict[str, Question] = {
    "ingest_against": against.ingest,
    "tick_against": against.tick,
}
"""Asked only with `--against`."""
EXIT_UNREACHABLE = 3
PLAIN_WIDTH = 120


class Screen(Progress):
    """Moves on a terminal, prints plain lines where there is none."""

    def __init__(self, console: Console) -> None:
        """Say nothing yet."""
        self._console = console
        self._status = console.status("")

    def question(self, name: str) -> None:
        """Say that this question is next."""
        self._console.print(f"[bold cyan]==>[/] {name}")
        self._status.start()

    def turn(self, text: str) -> None:
        """Say that this turn begins."""
        if self._console.is_terminal:
            self._status.update(text)
        else:
            self._console.print(f"    {text}")

    def answer(self, result: Result) -> None:
        """Show the table."""
        self.quiet()
        table = result.as_table()
        Console(highlight=False, width=tables.width(self._console, table)).print(table)

    def quiet(self) -> None:
        """Stop moving."""
        self._status.stop()


def main() -> int:
    """Do what the command line says; return the exit status."""
    return program.execute(command, "bench")


POSITIVE = click.IntRange(min=1)


@program.command(ABOUT, f"Questions: {', '.join(QUESTIONS)}.")
@click.option(
    "--only", default="", metavar="START", help="Questions whose name starts so, e.g. ingest."
)
@click.option(
    "--messages", type=POSITIVE, default=200_000, show_default=True, help="Messages per turn."
)
@click.option(
    "--runs", type=POSITIVE, default=5, show_default=True, help="Turns of which the median counts."
)
@click.option(
    "--large-bodies", type=POSITIVE, default=100, show_default=True, help="Bodies of 10 MB."
)
@click.option(
    "--ticks", type=POSITIVE, default=300, show_default=True, help="Ticks to watch under load."
)
@click.option("--retained", type=POSITIVE, default=10_000_000, show_default=True, help="Rows kept.")
@click.option(
    "--since-checkpoint", type=click.IntRange(min=0), default=0, show_default=True,
    help="Rows more, loaded after Postgres's checkpoint (ingest_growth).",
)  # fmt: skip
@click.option(
    "--postgres", metavar="OPTIONS",
    help="Of Postgres's command line, instead of compose's, e.g. '-c shared_buffers=2GB'.",
)  # fmt: skip
@click.option(
    "--memory", metavar="SIZE", help="Of Postgres's container, instead of compose's, e.g. 8g."
)
@click.option(
    "--against", type=click.Path(path_type=Path), metavar="CHECKOUT",
    help="Ask only how this checkout compares with another one, say of the commit before.",
)  # fmt: skip
@click.option(
    "--json", "path", type=click.Path(path_type=Path), default=Path("build/bench/bench.json"),
    show_default=True, help="Where the figures go.",
)  # fmt: skip
def command(*, only: str, path: Path, **given: Any) -> int:  # noqa: ANN401 - what click collected
    """Answer the questions asked for; return the exit status."""
    plan = Plan(**given)
    questions = AGAINST if plan.against else QUESTIONS
    names = [name for name in questions if name.startswith(only)]
    _check(plan, path, names, f"--only {only}: no such question; there are {', '.join(questions)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    screen = Screen(console)
    try:
        with site(plan.postgres, plan.memory) as servers:
            results = [_ask(servers, name, questions[name], plan, screen) for name in names]
            used = versions.of(servers)
    except DockerException as error:
        console.print(f"bench: {reason(error)}")
        return EXIT_UNREACHABLE
    finally:
        screen.quiet()
    console.print(", ".join(f"{name} {number}" for name, number in used.items()))
    _write(path, plan, results, used)
    console.print(f"figures: {path}")
    return 0


def _check(plan: Plan, path: Path, names: list[str], none_such: str) -> None:
    """Refuse at once what would fail after hours of measuring."""
    if not names:
        raise click.UsageError(none_such)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise click.UsageError(f"--json {path} cannot be written: {error.strerror}") from error
    if plan.against and not (plan.against / "services").is_dir():
        raise click.UsageError(f"--against {plan.against}: no checkout of Minutebook is there")


def reason(error: DockerException) -> str:
    """Return why the servers could not be started: what Docker says, if it answered at all."""
    if isinstance(error, ImageNotFound):
        return f"{error.explanation}: 'make engine' brings the images"
    if isinstance(error, APIError):
        return f"Docker refuses: {error.explanation or error}"
    return f"no Docker engine answers ({type(error).__name__}): 'make engine'"


def _ask(servers: Site, name: str, measure: Question, plan: Plan, screen: Screen) -> Result:
    screen.question(name)
    result = measure(servers, plan, screen)
    screen.answer(result)
    return result


def _write(path: Path, plan: Plan, results: list[Result], used: dict[str, str]) -> None:
    report = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": {
            name: str(one) if isinstance(one, Path) else one for name, one in asdict(plan).items()
        },
        "versions": used,
        "results": [result.as_json() for result in results],
    }
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
