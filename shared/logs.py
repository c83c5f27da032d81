"""Logs: a fixed event name, facts as fields, one line per unit of work, no payloads and no DSNs."""

import logging
import sys

import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

from shared.settings import LogSettings


def configure(settings: LogSettings, *, service: str) -> None:
    """Send our log lines to standard error: JSON, or coloured text where a person is watching."""
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stderr.isatty()
    )
    structlog.configure(
        processors=[
            lambda _logger, _method, event: {"service": service, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_json() if as_json else _console()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _json() -> list[Processor]:
    # Local variables stay out of tracebacks: a DSN may be among them.
    frames = ExceptionDictTransformer(show_locals=False)
    return [ExceptionRenderer(frames), structlog.processors.JSONRenderer()]


def _console() -> list[Processor]:
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
