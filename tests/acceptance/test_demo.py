"""`make demo` upon a stack that is somebody's already."""

from tests.support import demo_run
from tests.support.stack import Stack


def test_the_demo_leaves_tables_without_provider_1_alone(second: Stack) -> None:
    rows = "SELECT id FROM historical_transactions ORDER BY id"
    with second.postgres() as conn:
        conn.execute("INSERT INTO initial_data VALUES (61, 'Own', 70)")
        before = conn.execute(rows).fetchall()

        answer = demo_run.run(second)

        assert answer.returncode == 1, answer.stdout
        assert "no provider 1" in answer.stdout
        assert conn.execute("SELECT FROM initial_data WHERE id < 3").fetchall() == []
        assert conn.execute(rows).fetchall() == before
