"""Dead letters of any queues replayed: each by what acts on its queue, in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import psycopg

from ops.dead_letters import store
from ops.dead_letters.absent import absent
from ops.dead_letters.replay import Order, Replayed, replay
from ops.dead_letters.replay_records import replay_records
from services.notifier import intake
from services.observer import replays
from shared import postgres
from shared.queue_worker import Handle
from shared.shard import Shard


@dataclass(frozen=True, slots=True)
class Queues:
    """What dead letters can be replayed to: `source`, which ingest reads, and those of records."""

    source: str
    others: Mapping[str, Handle]

    @classmethod
    def of(cls, source: str, history_s: int, shard: Shard) -> "Queues":
        """Return them, as the services act on them."""
        others = intake.handlers(history_s, shard) | replays.HANDLERS
        others.pop(source, None)
        return cls(source, others)

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [self.source, *self.others]


def replay_each(conn: psycopg.Connection, order: Order, queues: Queues) -> Replayed:
    """Replay each dead letter by what acts on the queue it came from: all in one transaction.

    Raises `Unavailable`, after which nothing or all was done and may be repeated, and `Refusal`.
    """
    done = Replayed(order.dry_run)
    asked = order.choice
    with postgres.translating(), conn.transaction(force_rollback=order.dry_run):
        if asked.queue in (None, queues.source):
            replay(conn, replace(order, choice=replace(asked, queue=queues.source)), done)
        for queue, handle in queues.others.items():
            if asked.queue in (None, queue):
                replay_records(conn, order, queue, handle, done)
        done.elsewhere = store.elsewhere(conn, asked, queues.names)
    asked = replace(asked, queue=asked.queue or queues.source)
    done.absent = absent(conn, asked, done.ids)
    return done
