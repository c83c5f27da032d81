"""Bearer tokens (RFC 6750): who may write, and who may read.

Only digests are kept, and all of them are compared each time: how long that takes says nothing.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from services.gateway.problems import Problem

Scope = Literal["read", "write"]
SCOPES = get_args(Scope)
NAME = re.compile(r"[A-Za-z0-9._~-]{1,100}")
TOKEN_LENGTH_MIN = 8
CHALLENGE = 'Bearer realm="minutebook"'


@dataclass(frozen=True, slots=True)
class Token:
    """Whose it is, what it may, and the SHA-256 of it."""

    name: str
    digest: bytes
    scopes: frozenset[Scope]


def parse(text: str) -> Sequence[Token]:
    """Return the tokens of `name:token:scopes`, separated by blanks or lines.

    Scopes are joined by `+`. Raises `ValueError`, which quotes nothing.
    """
    found = [_parse_one(number, one) for number, one in enumerate(text.split(), start=1)]
    if not found:
        raise ValueError("there is no token: name:token:scopes, separated by blanks or lines")
    if len({one.name for one in found}) < len(found) or len({one.digest for one in found}) < len(
        found
    ):
        raise ValueError("two tokens have one name, or are the same")
    return found


def _parse_one(number: int, text: str) -> Token:
    name, _, rest = text.partition(":")
    token, _, scopes = rest.rpartition(":")
    wanted = frozenset(scopes.split("+"))
    if not NAME.fullmatch(name) or not wanted <= set(SCOPES):
        raise ValueError(f"token {number} is not of the form name:token:read+write")
    if len(token) < TOKEN_LENGTH_MIN or not (token.isascii() and token.isprintable()):
        raise ValueError(
            f"token {number} is to have {TOKEN_LENGTH_MIN} characters of ASCII or more"
        )
    return Token(name, _digest(token), cast("frozenset[Scope]", wanted))


def authorize(tokens: Sequence[Token], header: str | None, scope: Scope) -> str:
    """Return the name of the token in an `Authorization` header. Raises `Problem`: 401, 403."""
    kind, _, given = (header or "").partition(" ")
    if kind.lower() != "bearer" or not given.strip():
        raise _unauthorized("a bearer token is needed: Authorization: Bearer TOKEN", CHALLENGE)
    digest = _digest(given.strip())
    found = [one for one in tokens if hmac.compare_digest(one.digest, digest)]
    if not found:
        raise _unauthorized("the token is not known", f'{CHALLENGE}, error="invalid_token"')
    if scope not in found[0].scopes:
        challenge = f'{CHALLENGE}, error="insufficient_scope", scope="{scope}"'
        detail = f"the token may not {scope}"
        raise Problem(403, "forbidden", detail, headers={"WWW-Authenticate": challenge})
    return found[0].name


def _unauthorized(detail: str, challenge: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
