"""A pool of connections for questions, whose Postgres goes and comes back."""

from concurrent.futures import ThreadPoolExecutor

from pydantic import Secret

from shared import postgres_pool
from shared.errors import Unavailable
from shared.postgres_pool import WAITING_MAX, ReadingPool
from shared.settings import PostgresSettings
from tests.support.eventually import eventually
from tests.support.tcp_proxy import proxying


def is_answered(pool: ReadingPool) -> bool:
    try:
        with pool.connection() as conn:
            return conn.execute("SELECT 1").fetchone() == (1,)
    except Unavailable:
        return False


def test_questions_are_answered_again_however_many_got_no_answer(dsn: str) -> None:
    with proxying(dsn) as (proxy, cut_dsn):
        settings = PostgresSettings(postgres_dsn=Secret(cut_dsn))
        with postgres_pool.opened(settings, application="test", size_max=2) as pool:
            assert is_answered(pool)
            with proxy.down(), ThreadPoolExecutor(WAITING_MAX) as many:
                for _ in range(2):  # the first ones find connections that are gone
                    asked = many.map(is_answered, [pool] * WAITING_MAX)
                    assert not any(asked)

            eventually(lambda: is_answered(pool))
