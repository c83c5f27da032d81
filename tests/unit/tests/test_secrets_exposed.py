"""A secret is found in whatever form a program would show it."""

import base64

import pytest

from tests.support import secrets_exposed

SECRETS = {"ONE": "secret-0123456789abcdef", "OTHER": "secret-fedcba9876543210"}


@pytest.mark.parametrize("login", ["", "x:", "ab:", "user:"])
def test_a_secret_is_found_plain_and_in_a_header(login: str) -> None:
    header = base64.b64encode(f"{login}{SECRETS['ONE']}".encode()).decode()

    assert secrets_exposed.found_in(f"Authorization: Basic {header}", SECRETS) == {"ONE"}
    assert secrets_exposed.found_in(f"amqp://{login}{SECRETS['OTHER']}@host", SECRETS) == {"OTHER"}
    assert secrets_exposed.found_in("neither this nor that", SECRETS) == set()
