"""What all questions share: who may ask, a connection to Postgres, and how failures are answered.

Each question is a thread's work: it waits for Postgres.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
import psycopg
from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from services.gateway import http_request, tokens
from services.gateway.problems import Problem
from services.gateway.tokens import Token
from shared.errors import Refusal, Unanswerable, Unavailable
from shared.postgres_pool import ReadingPool

RETRY_AFTER_S = 2
PAGE, PAGE_MAX = 100, 1000

Limit = Annotated[int, Query(ge=1, le=PAGE_MAX, description="how many at most")]
Cursor = Annotated[str | None, Query(max_length=400, description="`next` of the page before")]
Time = Annotated[str | None, Query(json_schema_extra={"format": "date-time"}, max_length=40)]
ProviderPath = Annotated[str, Path(max_length=300, description="its id, or its key: 1, or 1_Visa")]
ProviderQuery = Annotated[str | None, Query(max_length=300, description="its id, or its key")]
Text = Annotated[str | None, Query(max_length=255)]

T = TypeVar("T", bound=str | None)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where questions are asked."""

    pool: ReadingPool
    tokens: Sequence[Token]

    @contextmanager
    def asked(self, request: Request) -> Iterator[psycopg.Connection]:
        """Lend a connection to who may read. Raises `Problem`, also for what happens inside."""
        found = http_request.of(request.scope)
        found.kind = "ask"
        found.by = tokens.authorize(self.tokens, found.header(b"authorization"), "read")
        try:
            with self.pool.connection() as conn:
                yield conn
        except Unavailable as error:
            raise _unavailable(error) from error
        except Unanswerable as error:
            raise Problem(410, "not_kept", str(error)) from error
        except Refusal as error:
            raise Problem(404, "not_found", str(error)) from error

    @contextmanager
    def asked_at_once(self, request: Request) -> Iterator[psycopg.Connection]:
        """Lend one as `asked` does, with one snapshot: nothing is pruned between statements."""
        with self.asked(request) as conn, conn.transaction():
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield conn


def text(given: T) -> T:
    """Return a text that Postgres can hold. Raises `Problem`."""
    if given is not None and "\0" in given:
        raise Problem(422, "invalid_parameter", "a NUL character")
    return given


def answer(document: object) -> Response:
    """Return a document as JSON."""
    return Response(msgspec.json.encode(document), media_type="application/json")


def _unavailable(error: Unavailable) -> Problem:
    detail = f"postgres {error.state}"
    return Problem(503, "postgres_unavailable", detail, retry_after_s=RETRY_AFTER_S)
