"""Tokens: what may be set, who may write, and that none of it shows."""

import pytest

from services.gateway import tokens
from services.gateway.problems import Problem
from services.gateway.tokens import Scope

TOKENS = tokens.parse("shop:a:secret:with:colons:read+write\ndesk:another-secret:read")


@pytest.mark.parametrize(
    ("header", "scope", "name"),
    [
        ("Bearer a:secret:with:colons", "write", "shop"),
        ("bearer  a:secret:with:colons ", "read", "shop"),
        ("Bearer another-secret", "read", "desk"),
    ],
)
def test_who_has_a_token_may_do_what_its_scopes_say(header: str, scope: Scope, name: str) -> None:
    assert tokens.authorize(TOKENS, header, scope) == name


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer another-secre", 401),
        ("Basic another-secret", 401),
        ("another-secret", 401),
        ("Bearer \xff", 401),
        ("Bearer another-secret", 403),
    ],
)
def test_all_others_are_told_what_they_lack(header: str | None, status: int) -> None:
    with pytest.raises(Problem) as caught:
        tokens.authorize(TOKENS, header, "write")

    assert caught.value.status == status
    assert caught.value.headers["WWW-Authenticate"].startswith("Bearer realm=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shop",
        "shop:secret-secret",
        "shop:secret-secret:",
        "shop:secret-secret:admin",
        "shop:secret-secret:read+admin",
        "shop:short:read",
        "sh/op:secret-secret:read",
        "shop:secret-secret:read shop:other-secret:read",
        "shop:secret-secret:read desk:secret-secret:read",
        "shop:sécret-secret:read",
    ],
)
def test_what_is_not_of_the_form_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="token") as caught:
        tokens.parse(text)

    assert "secret" not in str(caught.value)


def test_a_token_shows_in_no_representation() -> None:
    assert "another-secret" not in repr(TOKENS)
