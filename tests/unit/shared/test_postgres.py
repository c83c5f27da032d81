"""What is asked of a Postgres before anything is read from it."""

import pytest

from shared import postgres
from shared.errors import Refusal


def test_a_server_that_is_too_old_is_refused_with_the_reason() -> None:
    postgres.check_version(150_000)
    with pytest.raises(Refusal, match=r"Postgres is version 14; Minutebook needs 15 or newer"):
        postgres.check_version(140_012)
