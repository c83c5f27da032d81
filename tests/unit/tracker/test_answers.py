"""Where HTTP has an answer that is too large for a reply."""

import json

from services.tracker import answers
from shared import request_message

BEGIN = "2026-11-20T23:42:00Z"


def test_a_statement_is_found_whatever_characters_its_providers_name_has() -> None:
    asked = {"request": "K", "ask": "statement", "provider": "-1_a/b?c #d", "from": BEGIN}
    question = request_message.read(json.dumps(asked).encode())

    expected = "/v1/balances/-1/statement?from=2026-11-20T23%3A42%3A00Z"
    assert answers.location(question) == expected
