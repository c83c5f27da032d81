"""Which shard has a provider, and what a shard calls its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.shard import COUNT_MAX, ONLY, Shard, of
from shared.transaction_body import Limits, decode
from shared.unfit import Unfit
from tests.support.messages import BODY_MAX, body

IDS = st.integers(-(2**63), 2**63 - 1)
COUNTS = st.integers(1, COUNT_MAX)


@given(IDS, COUNTS)
def test_each_provider_is_of_exactly_one_shard_whatever_its_sign(
    provider_id: int, count: int
) -> None:
    assert [n for n in range(count) if Shard(n, count).has(provider_id)] == [of(provider_id, count)]


@given(IDS, COUNTS)
def test_languages_whose_remainder_has_a_sign_find_the_same_shard(
    provider_id: int, count: int
) -> None:
    def remainder(dividend: int) -> int:  # of C, Java, Go, JavaScript and SQL
        rest = abs(dividend) % count
        return rest if dividend >= 0 else -rest

    found = remainder(remainder(provider_id) + count)

    assert found == of(provider_id, count)
    if count > 1:
        assert Shard(0, count).route(provider_id) == str(found)


@pytest.mark.parametrize("count", [1, 2, 7, COUNT_MAX])
def test_what_is_written_is_read_again(count: int) -> None:
    for number in {0, count - 1}:
        assert Shard.parse(str(Shard(number, count))) == Shard(number, count)


@pytest.mark.parametrize(
    "text",
    ["2/2", "-1/2", "0/0", "1", "/", "0/1025", "00/2", "0/02", " 0/2", "0/2\n", "\u0660/2", "a/b"],
)
def test_what_names_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="k/N"):
        Shard.parse(text)


@pytest.mark.parametrize("only", [ONLY, Shard.parse(""), Shard.parse("0/1")])
def test_the_only_pipeline_has_every_provider_and_the_names_as_they_are(only: Shard) -> None:
    assert only.has(-7)
    assert only.split is None
    assert only.name("syncer.ticks") == "syncer.ticks"
    assert only.key("minutebook:keys") == "minutebook:keys"
    assert only.route(7) == ""


def test_a_shard_of_several_has_names_of_its_own() -> None:
    shard = Shard(1, 2)

    assert shard.name("incoming_transactions") == "incoming_transactions.1"
    assert shard.key("minutebook:watermark") == "minutebook:watermark:1"
    assert shard.route(7) == "1"


def test_a_message_of_another_shard_is_unfit_and_says_whose_it_is() -> None:
    limits = Limits(BODY_MAX, shard=Shard(0, 2))

    assert decode(body(-2, 5), limits)[0] == -2
    with pytest.raises(Unfit, match="of shard 1/2, and this is 0/2") as found:
        decode(body(-3, 5), limits)
    assert found.value.reason == "wrong_shard"


def test_an_id_that_no_column_holds_is_out_of_range_in_every_shard() -> None:
    with pytest.raises(Unfit) as found:
        decode(body(2**31 + 1, 5), Limits(BODY_MAX, provider_id_max=2**31, shard=Shard(0, 2)))
    assert found.value.reason == "out_of_range"
