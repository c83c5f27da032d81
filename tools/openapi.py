"""`python -m tools.openapi` (`make schemas`): writes docs/openapi.json and docs/api.md.

Both are of the gateway's application as it is, which needs no server to be described.
"""

import json
import sys
import threading
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from psycopg_pool import ConnectionPool

from services.gateway import app, tokens
from services.gateway.accepting import Acceptor, Bounds
from services.gateway.alerting import AlertWriter
from services.gateway.asking import Inquirer
from services.gateway.http_request import BodyLimits
from services.gateway.known import KnownRequests
from services.gateway.listing import Lister
from services.gateway.producer import Producer
from services.gateway.reading import Desk
from services.gateway.streaming import Streamer
from services.gateway.ticks import Ticks
from services.gateway.valuing import Valuer
from shared import program
from shared.errors import Unavailable
from shared.health import Health
from shared.limited_connection import LimitedConnection
from shared.postgres_pool import ReadingPool
from shared.transaction_body import Limits
from tools import api_page

DOCS = Path(__file__).parents[1] / "docs"
DOCUMENT, PAGE = DOCS / "openapi.json", DOCS / "api.md"
ABOUT = "Writes docs/openapi.json and docs/api.md from the gateway's routes."


def application(given_tokens: str = "nobody:no-token-at-all:read+write") -> FastAPI:
    """Return the gateway's application, without any server."""
    known = tokens.parse(given_tokens)
    health = Health()
    producer = Producer(_nowhere, health, threading.Event())
    bounds = Bounds(BodyLimits(4_194_304, 30.0, 33_554_432), 10_000, 1000)
    pool: ConnectionPool[LimitedConnection] = ConnectionPool(
        connection_class=LimitedConnection, open=False
    )
    reading = ReadingPool(pool)
    acceptor = Acceptor(producer, KnownRequests(reading), known, bounds, Limits(65_536))
    desk = Desk(reading, known)
    questions = {
        **Lister(desk).routes(), **Inquirer(desk, 60).routes(), **Valuer(desk).routes(),
    }  # fmt: skip
    return app.make(AlertWriter(acceptor, 30 * 86_400), questions, Streamer(Ticks(), known), health)


def document() -> str:
    """Return docs/openapi.json."""
    return json.dumps(application().openapi(), indent=2, ensure_ascii=False) + "\n"


def page() -> str:
    """Return docs/api.md."""
    return api_page.page(PAGE.read_text(encoding="utf-8"), application().openapi())


@program.command(ABOUT)
def command() -> int:
    """Write both files; return the exit code."""
    DOCUMENT.write_text(document(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    return 0


def _nowhere() -> Any:  # noqa: ANN401 - it returns nothing
    raise Unavailable("rabbitmq", "there is none")


if __name__ == "__main__":
    sys.exit(program.execute(command, "tools.openapi"))
