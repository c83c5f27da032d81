"""What is said of a body that is no JSON object."""

import pytest

from shared.json_object import read
from shared.unfit import Unfit


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON: Expecting value at character 0"),
        (b'{"id":', "not JSON: Expecting value at character 6"),
        (b'{"id": 1', "not JSON: Expecting ',' delimiter at character 8"),
        (b'{"id": "hunter2', "not JSON: Unterminated string starting at character 7"),
        (b'{"id": NaN}', "not JSON: it has no NaN"),
    ],
)
def test_what_is_no_json_is_told_with_its_place_and_without_a_word_of_it(
    body: bytes, said: str
) -> None:
    with pytest.raises(Unfit) as refused:
        read(body)

    assert refused.value.error == said
