"""What is served: the pages of the only pipeline; or of each shard, and one of all of them."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import click
from jinja2 import Environment
from pydantic import Secret
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from ops import shards
from ops.console import balance_store, rendering
from ops.console.access import let_act, let_in, surround
from ops.console.all_shards import AllShards
from ops.console.app import Console, make_app
from ops.console.balances import Balances
from ops.console.joined_balances import JoinedBalances
from ops.console.pages import Pages
from ops.console.poll import Poller
from ops.console.rendering import ONLY, Place
from ops.console.sections import Sections
from ops.console.settings import ConsoleSettings
from ops.params import ProviderId
from services.syncer.projection import WATERMARK_KEY
from shared import keydb, postgres_pool, settings, shard
from shared.postgres_pool import ReadingPool
from shared.shard import Shard

POOL_MAX = 8
"""Questions that Postgres answers at once; more wait a little."""
CONNECTION_WITHIN_S = 2.0
"""Before the deadline of a question: why there is none is said instead of that it is over."""


@dataclass(frozen=True, slots=True)
class Served:
    """An application, and what asks on its behalf."""

    app: ASGIApp
    consoles: Sequence[Console]
    of_all: Sequence[JoinedBalances | AllShards] = ()

    def stop(self) -> None:
        """Tell nobody anything new: who watches is let go."""
        for one in self.consoles:
            one.closing.set()

    def close(self) -> None:
        """Ask nothing any more; what hangs is left to its own time-out."""
        for one in self.consoles:
            one.close()
        for each in self.of_all:
            each.close()


@dataclass(frozen=True, slots=True)
class _Pipeline:
    """One pipeline's settings, and its connections."""

    chosen: ConsoleSettings
    pool: ReadingPool
    balances: Balances

    def sections(self) -> Sections:
        return Sections(self.chosen, self.pool, self.balances, time.monotonic)


@contextlib.contextmanager
def opened(chosen: ConsoleSettings) -> Iterator[Served]:
    """Have an application while inside; it connects when it is first asked."""
    known = settings.load(shards.AllShardsSettings).shards
    templates = rendering.environment()
    rendering.compile_all(templates)
    with contextlib.ExitStack() as stack:
        if not known:
            console, app = _pages(stack.enter_context(_connected(chosen)), templates, ONLY)
            yield Served(surround(app, chosen, templates), [console])
            return
        each = [stack.enter_context(_connected(_of(chosen, *one))) for one in known]
        yield _together(chosen, each, templates)


@contextlib.contextmanager
def _connected(chosen: ConsoleSettings) -> Iterator[_Pipeline]:
    with (
        postgres_pool.opened(
            chosen,
            application="console",
            size_max=POOL_MAX,
            options=balance_store.OPTIONS,
            within_s=CONNECTION_WITHIN_S,
        ) as pool,
        keydb.client(chosen, name="console") as client,
    ):
        key = chosen.own_shard.key(WATERMARK_KEY)
        yield _Pipeline(chosen, pool, Balances(pool, client, chosen.tick_interval_seconds, key))


def _of(chosen: ConsoleSettings, own: Shard, dsn: str) -> ConsoleSettings:
    return chosen.model_copy(update={"shard": str(own), "postgres_dsn": Secret(dsn)})


def _pages(one: _Pipeline, templates: Environment, place: Place) -> tuple[Console, Starlette]:
    sections = one.sections()
    poller = Poller(sections.parts())
    console = Console(poller, sections.views, sections.past, one.balances, templates, place)
    interval_s = one.chosen.tick_interval_seconds
    pages = Pages(console, one.balances, one.pool, sections, interval_s)
    return console, make_app(console, pages.routes())


def _together(chosen: ConsoleSettings, each: Sequence[_Pipeline], templates: Environment) -> Served:
    joined = JoinedBalances([one.balances for one in each])
    all_shards = AllShards([(one.chosen, one.sections()) for one in each])
    poller, place = Poller(all_shards.parts()), rendering.place(len(each))
    first = Console(poller, all_shards.views, all_shards.past, joined, templates, place)
    consoles = [first]
    routes: list[BaseRoute] = [Route("/providers/{id}", _leading(len(each)))]
    for number, one in enumerate(each):
        its_place = rendering.place(len(each), number)
        console, app = _pages(one, templates, its_place)
        let_act(app, one.chosen, templates, its_place)
        consoles.append(console)
        routes.append(Mount(its_place["root"], app))
    return Served(
        let_in(make_app(first, routes), chosen, templates, place), consoles, [joined, all_shards]
    )


def _leading(count: int) -> Callable[[Request], Response]:
    """Return what leads to the page of a provider, which its own shard has."""

    def lead(request: Request) -> Response:
        try:
            provider_id = ProviderId().convert(request.path_params["id"], None, None)
        except click.UsageError as error:
            raise HTTPException(404, "A provider's id is a number.") from error
        return RedirectResponse(f"/shards/{shard.of(provider_id, count)}/providers/{provider_id}")

    return lead
