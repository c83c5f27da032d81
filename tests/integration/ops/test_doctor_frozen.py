"""`ops doctor` ends, whatever a server does."""

import pytest

from ops.deployment import DeploymentSettings
from ops.doctor import command
from tests.support import ops_tool
from tests.support.tcp_proxy import proxying


def test_a_postgres_that_stops_answering_is_one_that_fails(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "ANSWER_WITHIN_S", 0.5)
    with proxying(dsn) as (proxy, url):
        held = proxy.hold(b"pg_settings")
        named = {name.lower(): one for name, one in ops_tool.deployment(url).settings.items()}
        found, *_ = command.inspect(DeploymentSettings.model_validate(named))

    assert held.hits == 1
    assert (found.name, found.verdict) == ("answers", "fail")
    assert "no answer in 0.5 s" in found.found
