"""`ops feed replay`."""

import re
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import click
from rich.text import Text

from ops import deployment
from ops.answer import Answer, answering
from ops.feed import store
from ops.params import Words
from ops.progress import bar
from ops.wording import count
from services.feed.service import Feed
from services.feed.store import OPTIONS
from shared import postgres, program, settings
from shared.amqp import ticks
from shared.amqp.publisher import Publisher, Stopped
from shared.errors import Refusal
from shared.follower import RowsGone

EPOCH = click.IntRange(min=0)
NOT_FOR_EVENTS = frozenset({
    ticks.QUEUE, "alerts", "notifications.delivered", "prices", "requests", "sightings",
    "sightings.retry",
})  # fmt: skip
"""Queues of ours that hold something else. The queue of transactions is a setting."""
NUMBERED = re.compile(r"[.][0-9]+$")
"""What the names of a shard's queues, and of the queues of retries, end in."""


class ReplaySettings(deployment.QueueSettings, settings.PostgresSettings):
    """Where ticks are, and the broker."""


@click.group(short_help="Send change events of past ticks again.")
def feed() -> None:
    """Send again what the feed published of past ticks, for a consumer that missed it."""


@feed.command(short_help="Send the events of past ticks to a queue.")
@click.option(
    "--from", "first", type=EPOCH, required=True,
    help="Epoch of the first tick: after the last one that the consumer closed.",
)  # fmt: skip
@click.option("--to", "last", type=EPOCH, help="Epoch of the last tick; else the newest one.")
@click.option(
    "--queue", type=Words(), required=True, help="Queue of the consumer; it must be there."
)
@click.option(
    "--events", type=click.Choice(["all", "balances"]), default="all", show_default=True,
    help="As FEED_EVENTS of the feed is.",
)  # fmt: skip
@answering
def replay(*, first: int, last: int | None, queue: str, events: str) -> Answer:
    """Send the events of past ticks to one queue, under the same ids as the first time.

    They can be told as long as their rows are kept (OUTBOX_RETENTION_HOURS). Bind the queue first,
    so that nothing is missing after them.
    """
    chosen = settings.load(ReplaySettings)
    if not is_for_events(queue, {chosen.ingest_queue, chosen.ingest_stream}):
        raise Refusal(f"queue {queue} is not for events")
    stop = program.stop_on_signals()
    with deployment.postgres_connection(chosen, options=OPTIONS) as conn:
        with postgres.translating():
            spans = store.spans(conn, first, last)
        done = 0
        with _publishing(chosen, queue, stop) as publisher, bar("ticks", len(spans)) as progress:
            told = Feed(conn, publisher, changes=events == "all", to=("", queue))
            for span in spans:
                try:
                    with postgres.translating():
                        told.tell(span)
                except RowsGone:
                    raise Refusal(_gone(span.tick.epoch, done)) from None
                except Stopped:
                    break
                done += 1
                progress(1)
    document = {
        "queue": queue,
        "first_epoch": spans[0].tick.epoch,
        "last_epoch": spans[max(done, 1) - 1].tick.epoch,
        "ticks": done,
        "of": len(spans),
    }
    code = 0 if done == len(spans) else program.EXIT_FINDING
    return Answer(document, Text(f"{count(done, 'tick')} of {len(spans):,} sent to {queue}"), code)


def is_for_events(queue: str, sources: Collection[str]) -> bool:
    """Say whether a queue may be a consumer's: of no shard is it one of ours, or of `sources`."""
    return {queue, NUMBERED.sub("", queue)}.isdisjoint(NOT_FOR_EVENTS.union(sources))


@contextmanager
def _publishing(chosen: ReplaySettings, queue: str, stop: threading.Event) -> Iterator[Publisher]:
    with Publisher.connected(chosen, name="ops") as publisher:
        _check_there(publisher, queue)
        publisher.confirm_all(stop)
        yield publisher
        _check_there(publisher, queue)  # what a queue that is gone was sent is lost


def _check_there(publisher: Publisher, queue: str) -> None:
    if publisher.inspect(queue) is None:
        raise Refusal(f"there is no queue {queue}: declare it and bind it to the exchange first")


def _gone(epoch: int, done: int) -> str:
    return (
        f"{count(done, 'tick')} sent; of epoch {epoch} the outbox's rows are gone"
        " (OUTBOX_RETENTION_HOURS): 'ops followers anew feed' has all balances read"
    )
