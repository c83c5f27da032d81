"""A broker with an alarm blocks the ticker, too: it says so at once, and goes on by itself."""

from collections.abc import Iterator

import pytest

from tests.support import ops_tool, programs
from tests.support.eventually import eventually
from tests.support.own_broker import OwnBroker


@pytest.fixture
def amqp_url(own: OwnBroker) -> Iterator[str]:
    with own.server.vhost() as url:
        yield url


def test_a_ticker_that_the_broker_blocks_gives_the_alarm_as_its_reason_and_goes_on_after_it(
    own: OwnBroker, amqp_url: str
) -> None:
    settings = {"RABBITMQ_URL": amqp_url, "TICK_INTERVAL_SECONDS": "1"}
    with programs.running("services.ticker", **settings) as ticker:
        eventually(lambda: ticker.metric("minutebook_ticks_published_total") >= 1)
        with own.alarm():
            # At the first boundary, well before one counts as missed.
            eventually(lambda: "low on memory" in ticker.health()[1])
            assert ticker.health()[0] == 503
            asked = place(ticker)
            seen = ops_tool.deployment().json("status", code=1, OPS_SERVICES=asked)
            published = ticker.metric("minutebook_ticks_published_total")
        eventually(lambda: ticker.health()[0] == 200)
        eventually(lambda: ticker.metric("minutebook_ticks_published_total") > published)
        assert ticker.metric('minutebook_reconnects_total{server="rabbitmq"}') == 0
    says = {one["about"]: one for one in seen["findings"]}
    blocked = says[f"the service at {asked}"]
    assert "takes nothing while its alarm lasts (low on memory)" in blocked["says"]
    assert "rabbitmq-diagnostics alarms" in blocked["do"]


def place(ticker: programs.Program) -> str:
    return f"127.0.0.1:{ticker.port()}"
