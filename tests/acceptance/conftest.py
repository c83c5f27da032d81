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
SHARED = ("running", "second")
"""The stacks that tests share, each up from the first test that asks for it to the last: tests that
use both come between those that use one, and the stacks go with this folder, not with all folders.

Tests below it (`fresh/`) have stacks of their own.
"""
up = {name: contextlib.ExitStack() for name in SHARED}


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    """The Docker engine, with the image of our programs built from this checkout."""
    client = containers.engine()
    stack.build(client)
    return client


@pytest.fixture(scope="session")
def running(engine: docker.DockerClient) -> Stack:
    """The stack that most tests share, each with providers of its own."""
    return _up(engine, "running")


@pytest.fixture(scope="session")
def second(engine: docker.DockerClient) -> Stack:
    """Another one beside it, for tests that take their stack down."""
    return _up(engine, "second")


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


def _up(engine: docker.DockerClient, name: str) -> Stack:
    one = up[name].enter_context(stack.project(engine))
    one.up()
    return one


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the tests of one stack come together; nothing else of the order changes."""
    items.sort(key=_last_stack)


def _last_stack(item: pytest.Item) -> tuple[bool, bool]:
    running, second = (name in _used(item) for name in SHARED)
    return second, second and not running


def _used(item: pytest.Item | None) -> set[str]:
    if item is None or item.path.parent != FOLDER:
        return set()
    return {name for name in SHARED if name in getattr(item, "fixturenames", ())}


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Have a shared stack gone once no test that uses it comes."""
    over = set(SHARED) if nextitem is None or nextitem.path.parent != FOLDER else set()
    if _used(nextitem) == {"second"}:
        over.add("running")
    for name in over:
        up[name].close()


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
