"""The stack of deploy/swarm on one node: ingest is replaced under load; servers go, and return."""

from collections.abc import Iterator

import docker
import pytest

from tests.support import containers, outages, stack, swarm
from tests.support.eventually import eventually
from tests.support.swarm import SwarmStack

pytestmark = pytest.mark.swarm

PER_S, MORE = 200, 400
ROWS = "SELECT transaction_value FROM historical_transactions WHERE provider_id = 1"
SERVICES = {"ingest": 2, "ticker": 1, "syncer": 1}
START_TIMEOUT_S = 180.0
NEXT = f"{stack.OUR_IMAGE}-next"


@pytest.fixture(scope="module")
def deployed(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SwarmStack]:
    engine.images.get(stack.OUR_IMAGE).tag(NEXT)
    with swarm.stack(engine, tmp_path_factory.mktemp("secrets")) as one:
        one.deploy(**{f"{name.upper()}_REPLICAS": str(many) for name, many in SERVICES.items()})
        await_healthy(one)
        sql(one, "INSERT INTO initial_data VALUES (1, 'Visa', 1000)")
        yield one
    engine.images.remove(NEXT, force=True)


def await_healthy(deployed: SwarmStack) -> None:
    for service, replicas in SERVICES.items():
        eventually(
            lambda one=service, many=replicas: deployed.healthy(one, many),  # type: ignore[misc]
            START_TIMEOUT_S,
            pause_s=0.5,
        )


def sql(deployed: SwarmStack, statement: str) -> list[str]:
    return deployed.asked("postgres", "psql", "-U", "user", "minutebook", "-tAc", statement).split()


def test_ingest_is_replaced_under_load_and_nothing_is_lost_or_doubled(
    deployed: SwarmStack,
) -> None:
    old = deployed.running("ingest")
    with outages.flowing(deployed.amqp_url(), PER_S) as traffic:
        eventually(lambda: len(sql(deployed, ROWS)) > MORE, pause_s=0.3)
        assert deployed.update("ingest", NEXT) == "completed"
        more = traffic.sent + MORE
        eventually(lambda: len(sql(deployed, ROWS)) > more, pause_s=0.3)

    # A busy engine may pass on nothing of what a command said.
    sent = [value for _, value in traffic.rows()]
    eventually(lambda: sorted(map(int, sql(deployed, ROWS))) == sent, pause_s=0.3)
    assert [one.wait()["StatusCode"] for one in old] == [0, 0]
    new = deployed.running("ingest")
    assert [one.attrs["Config"]["Image"] for one in new] == [NEXT] * 2
    balance = str(1000 + traffic.sent * (traffic.sent + 1) // 2)
    eventually(
        lambda: deployed.asked("keydb", "keydb-cli", "get", "1_Visa").strip() == balance,
        pause_s=0.3,
    )
    status = ("python", "-m", "ops", "status")
    eventually(lambda: "Everything is healthy." in deployed.asked("ops", *status), pause_s=0.5)


def test_a_replica_is_not_replaced_because_a_server_is_away(deployed: SwarmStack) -> None:
    await_healthy(deployed)
    ingest, broker = deployed.container("ingest"), deployed.container("rabbitmq")
    (_, check) = ingest.attrs["Config"]["Healthcheck"]["Test"]

    containers.freeze(broker)
    try:
        probe = ["python", "-m", "shared.probe"]
        eventually(lambda: ingest.exec_run(probe).exit_code == 1, pause_s=0.5)
        assert ingest.exec_run(["sh", "-c", check]).exit_code == 0
    finally:
        broker.unpause()
    eventually(lambda: ingest.exec_run(probe).exit_code == 0, pause_s=0.5)
