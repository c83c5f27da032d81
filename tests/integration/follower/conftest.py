"""A follower of either kind, and what it works with."""

from collections.abc import Iterator

import psycopg
import pytest

from services.syncer.service import Syncer
from shared.follower import Follower
from tests.support.recording_follower import Recording, following, opened


@pytest.fixture
def own_conn(dsn: str) -> Iterator[psycopg.Connection]:
    with opened(dsn) as conn:
        yield conn


@pytest.fixture
def work() -> Recording:
    return Recording()


@pytest.fixture(params=[False, True], ids=["publishes", "writes"])
def follower(request: pytest.FixtureRequest) -> Follower:
    """One of each kind."""
    return following(writes=request.param)


@pytest.fixture
def begun(
    syncer: Syncer, own_conn: psycopg.Connection, follower: Follower, work: Recording
) -> Follower:
    """One that stands at the newest tick."""
    assert follower.run_once(own_conn, work) == "anew"
    assert follower.run_once(own_conn, work) == "idle"
    work.anew.clear()
    return follower
