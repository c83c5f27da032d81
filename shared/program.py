"""How every service starts and stops: `--help`, settings, logs, signals, port, exit code."""

import argparse
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Generic, TypeVar

import structlog

from shared import health, logs, output, settings, tracing
from shared.errors import Refusal, Unavailable
from shared.postgres import SCHEMA_NEEDED
from shared.version import VERSION

EXIT_FINDING, EXIT_UNREACHABLE, EXIT_BUG, EXIT_INTERRUPTED = 1, 3, 70, 130

ABOUT_VERSION = f"minutebook {VERSION}, schema {SCHEMA_NEEDED}"
"""What every program says to `--version`."""

S = TypeVar("S", bound=settings.ServiceSettings)

log = structlog.get_logger()


@dataclass(frozen=True)
class Program(Generic[S]):
    """A service: `run(settings, health, stop)` returns when `stop` is set and work is put away."""

    name: str
    about: str
    settings: type[S]
    run: Callable[[S, health.Health, threading.Event], None]

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run until SIGTERM or SIGINT; return the exit code (docs/running.md)."""
        output.protect()
        parser(f"services.{self.name}", self.about, self.settings).parse_args(arguments)
        chosen = settings.load(self.settings)
        logs.configure(chosen, service=self.name)
        tracing.configure(on=chosen.tracing == "on")
        try:
            return self._serve(chosen)
        except Refusal as refusal:
            log.error("refused", reason=str(refusal))
            return EXIT_FINDING
        except Exception:
            log.exception("bug")
            return EXIT_BUG

    def _serve(self, chosen: S) -> int:
        stop = stop_on_signals()
        state = health.Health()
        state.problem(health.START, "not begun yet")  # else /healthz would say 200 now
        with health.serving(state, chosen.metrics_host, chosen.metrics_port) as port:
            log.info("started", port=port)
            try:
                self.run(chosen, state, stop)
            except Unavailable:
                if not stop.is_set():
                    raise
        log.info("stopped")
        return 0


def parser(module: str, about: str, cls: type[settings.Settings]) -> argparse.ArgumentParser:
    """Return a parser whose help lists the settings of `cls`."""
    made = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=about,
        epilog="settings (environment, or files in SECRETS_DIR):\n" + settings.describe(cls),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=ABOUT_VERSION)
    return made


def stop_on_signals() -> threading.Event:
    """Return the event that SIGTERM and SIGINT set: the only way in which anything here stops."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop
