"""Alerts, ticks and notifiers in interleavings that hypothesis makes up, against a reference."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support import servers
from tests.support.alert_machine import Machine

SHORT = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    report_multiple_bugs=False,
    max_examples=12,
    stateful_step_count=40,
    derandomize=True,
    phases=(Phase.generate,),
)


@pytest.mark.timeout(300)
def test_whatever_moves_is_late_or_dies_the_notifications_are_those_of_the_reference(
    postgres_server: servers.Postgres, rabbitmq_server: servers.Rabbitmq
) -> None:
    class Here(Machine):
        def __init__(self) -> None:
            super().__init__(postgres_server, rabbitmq_server)

    run_state_machine_as_test(Here, settings=SHORT)
