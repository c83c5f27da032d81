"""How every program starts and stops: `--help`, settings, logs, signals, port, exit code."""

import _thread
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import click
import structlog

from shared import health, logs, output, settings, tracing
from shared.errors import Refusal, Unavailable
from shared.postgres import SCHEMA_NEEDED
from shared.version import VERSION

EXIT_FINDING, EXIT_UNREACHABLE, EXIT_BUG, EXIT_INTERRUPTED = 1, 3, 70, 130

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
VERSION_OPTION = click.version_option(
    VERSION, message=f"minutebook {VERSION}, schema {SCHEMA_NEEDED}"
)

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
        return execute(self.command, f"services.{self.name}", arguments)

    @property
    def command(self) -> click.Command:
        """The command line: it has no options but those that every program has."""
        return command(self.about, settings_help(self.settings))(self._start)

    def _start(self) -> int:
        chosen = settings.load(self.settings)
        logs.configure(chosen, service=self.name)
        tracing.configure(on=chosen.tracing == "on")
        try:
            return self._serve(chosen)
        except Refusal as refusal:
            log.error("refused", reason=str(refusal))
            return EXIT_FINDING
        except Exception:  # the last resort: logged with its traceback, and an exit code of its own
            log.exception("bug")
            return EXIT_BUG

    def _serve(self, chosen: S) -> int:
        stop = stop_on_signals()
        state = health.Health(stuck_s=chosen.livez_stuck_seconds)
        state.turn(health.MAIN)
        state.problem(health.START, health.NOT_BEGUN)  # else /healthz would say 200 now
        with health.serving(state, chosen.metrics_host, chosen.metrics_port) as port:
            log.info("started", port=port)
            try:
                self.run(chosen, state, stop)
            except Unavailable:
                if not stop.is_set():
                    raise
        log.info("stopped")
        return 0


def command(about: str, epilog: str = "") -> Callable[[Callable[..., int]], click.Command]:
    """Make a command line of a function that returns an exit code."""

    def made(function: Callable[..., int]) -> click.Command:
        plain = click.command(help=about, epilog=epilog, context_settings=HELP_OPTIONS)(function)
        return VERSION_OPTION(plain)

    return made


def settings_help(cls: type[settings.Settings]) -> str:
    """Return what `--help` says below the options: the settings of `cls`, each in a line."""
    # After \b click leaves the lines of a paragraph as they are.
    return f"\b\nSettings (environment, or files in SECRETS_DIR):\n{describe(cls)}"


def execute(command: click.Command, module: str, arguments: Sequence[str] | None = None) -> int:
    """Do what the command line of `python -m module` says; return the exit code."""
    output.protect()
    try:
        return int(command.main(arguments, f"python -m {module}", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED


def stop_on_signals() -> threading.Event:
    """Return the event that SIGTERM and SIGINT set: the only way in which anything here stops.

    A thread sets it: the main thread may be interrupted while it holds the lock of the event.
    """
    stop = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: _thread.start_new_thread(stop.set, ()))
    return stop


def describe(cls: type[settings.Settings]) -> str:
    """Return one line per setting of `cls`: its name in the environment, default and meaning."""
    lines = []
    for name, field in cls.model_fields.items():
        default = f"default {field.default}"
        if field.is_required():
            default = ", e.g. ".join(["required", *(field.examples or [])])
        lines.append(f"  {name.upper():30} {field.description} ({default})")
    return "\n".join(lines)
