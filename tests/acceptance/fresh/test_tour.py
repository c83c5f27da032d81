"""`make tour` as a person runs it, under a project name of its own."""

from tests.support import demo_run
from tests.support.stack import Stack


def test_the_tour_shows_that_all_say_the_same_of_one_transaction(fresh: Stack) -> None:
    answer = demo_run.run(fresh, demo_run.TOUR)

    assert answer.returncode == 0, answer.stdout
    said = answer.stdout
    for line in (
        "1 item, 1 stored",
        "reply: done, counted by the tick ",
        "notification: 1_Visa is 1900, above 1600",
        "transaction.added 600, balance.changed to 1900, tick.closed",
        "GET /v1/balances/1: 1900",
        "GET /v1/valuation?in=EUR: 1 is worth 23.75",
        "POST /callback: 2 objects, 7 and 8",
        "last_seen: object 7 at 20",
        "all say the same: 1_Visa is 1900",
        f"http://127.0.0.1:{fresh.port('gateway', 8080)}/docs",
    ):
        assert line in said, said


def test_without_a_token_that_may_write_and_read_the_tour_says_so(fresh: Stack) -> None:
    answer = demo_run.run(fresh, demo_run.TOUR, GATEWAY_TOKENS="dev:password:read")

    assert answer.returncode == 2, answer.stdout
    assert "tour: GATEWAY_TOKENS has no token of 'read+write'" in answer.stdout
    assert fresh.containers() == []
