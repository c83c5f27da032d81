"""`python -m bench`: every question in turn, a table for each, all figures as JSON."""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import structlog
from docker.errors import APIError, DockerException, ImageNotFound
from rich.console import Console

from bench import (
    against,
    ingest_latency,
    ingest_memory,
    ingest_outage,
    ingest_scale,
    ingest_speed,
    ingest_unfit,
    ingest_waiting,
    tick_growth,
    tick_lateness,
    tick_soak,
    tick_volume,
    ticker_lateness,
    versions,
)
from bench.ground import Site, site
from bench.result import Plan, Progress, Result
from ops import tables
from shared import output

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
    "tick_lateness": tick_lateness.measure,
    "tick_volume": tick_volume.measure,
    "tick_growth_kept": tick_growth.kept,
    "tick_growth_repeated": tick_growth.repeated,
    "tick_soak": tick_soak.measure,
    "ticker_lateness": ticker_lateness.measure,
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
    """Answer the questions asked for; return the exit status."""
    output.protect()
    parser = _parser()
    chosen = parser.parse_args()
    questions = AGAINST if chosen.against else QUESTIONS
    names = [name for name in questions if name.startswith(chosen.only)]
    if not names:
        parser.error(f"--only {chosen.only}: no such question; there are {', '.join(questions)}")
    try:  # now, not after hours of measuring
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.touch()
    except OSError as error:
        parser.error(f"--json {chosen.json} cannot be written: {error.strerror}")
    if chosen.against and not (chosen.against / "services").is_dir():
        parser.error(f"--against {chosen.against}: no checkout of Minutebook is there")
    plan = Plan(
        chosen.messages,
        chosen.runs,
        chosen.large_bodies,
        chosen.ticks,
        chosen.retained,
        chosen.against,
    )
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    screen = Screen(console)
    try:
        with site() as servers:
            results = [_ask(servers, name, questions[name], plan, screen) for name in names]
            used = versions.of(servers)
    except DockerException as error:
        console.print(f"bench: {reason(error)}")
        return EXIT_UNREACHABLE
    finally:
        screen.quiet()
    console.print(", ".join(f"{name} {number}" for name, number in used.items()))
    _write(chosen.json, plan, results, used)
    console.print(f"figures: {chosen.json}")
    return 0


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=ABOUT,
        epilog=f"questions: {', '.join(QUESTIONS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", default="", metavar="START", help="questions whose name starts so, e.g. ingest")
    add("--messages", type=_positive, default=200_000, help="messages per turn (%(default)s)")
    add("--runs", type=_positive, default=5, help="turns of which the median counts (%(default)s)")
    add("--large-bodies", type=_positive, default=100, help="bodies of 10 MB (%(default)s)")
    add("--ticks", type=_positive, default=300, help="ticks to watch under load (%(default)s)")
    add("--retained", type=_positive, default=10_000_000, help="rows kept (%(default)s)")
    add(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="ask only how this checkout compares with another one, say of the commit before",
    )
    add("--json", type=Path, default=Path("build/bench/bench.json"), help="%(default)s")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
