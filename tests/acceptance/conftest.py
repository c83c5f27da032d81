"""The whole stack from outside: one for most tests, a second beside it, others for one test."""

from collections.abc import Generator, Iterator

import docker
import psycopg
import pytest

from tests.support import containers, stack
from tests.support.stack import Stack


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    """The Docker engine, with the image of our programs built from this checkout."""
    client = containers.engine()
    Stack(client).compose("build", "migrate")
    return client


@pytest.fixture(scope="session")
def running(engine: docker.DockerClient) -> Iterator[Stack]:
    """The stack that most tests share, each with providers of its own."""
    with stack.project(engine) as one:
        one.up()
        yield one


@pytest.fixture(scope="session")
def second(engine: docker.DockerClient) -> Iterator[Stack]:
    """Another one beside it, for tests that take their stack down."""
    with stack.project(engine) as one:
        one.up()
        yield one


@pytest.fixture
def fresh(engine: docker.DockerClient) -> Iterator[Stack]:
    """One of the test's own, nothing of which is up."""
    with stack.project(engine) as one:
        yield one


@pytest.fixture
def conn(running: Stack) -> Iterator[psycopg.Connection]:
    """The shared stack's database."""
    with running.postgres() as conn:
        yield conn


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the last words of a failed test's containers."""
    report = yield
    if report.failed and report.when == "call" and isinstance(item, pytest.Function):
        for one in item.funcargs.values():
            if isinstance(one, Stack):
                report.sections.append((one.project, one.logs(lines=stack.LOG_LINES_SHOWN)))
    return report
