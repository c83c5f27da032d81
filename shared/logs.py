"""Logs: a fixed event name, facts as fields, one line per unit of work, no payloads and no DSNs."""

import logging
import sys

import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

from shared.settings import LogSettings

# Local variables stay out of tracebacks: a DSN may be among them.
FRAMES = ExceptionDictTransformer(show_locals=False)
JSON: list[Processor] = [ExceptionRenderer(FRAMES), structlog.processors.JSONRenderer()]
CONSOLE = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


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
            *(JSON if as_json else CONSOLE),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
