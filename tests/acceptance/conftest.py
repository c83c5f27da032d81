"""The whole stack from outside: one for most tests, a second beside it, others for one test."""

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path

import docker
import psycopg
import pytest

from tests.support import containers, stack
from tests.support.stack import Stack

FOLDER = Path(__file__).parent
shared = contextlib.ExitStack()
"""The stacks that tests share; they go with the last test of this folder, not of all folders.

Tests below it (`fresh/`) have stacks of their own.
"""


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    """The Docker engine, with the image of our programs built from this checkout."""
    client = containers.engine()
    Stack(client).compose("build", "migrate")
    return client


@pytest.fixture(scope="session")
def running(engine: docker.DockerClient) -> Stack:
    """The stack that most tests share, each with providers of its own."""
    return _up(engine)


@pytest.fixture(scope="session")
def second(engine: docker.DockerClient) -> Stack:
    """Another one beside it, for tests that take their stack down."""
    return _up(engine)


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


def _up(engine: docker.DockerClient) -> Stack:
    one = shared.enter_context(stack.project(engine))
    one.up()
    return one


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Have the shared stacks gone once no test of those that share them comes."""
    if nextitem is None or nextitem.path.parent != FOLDER:
        shared.close()


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
