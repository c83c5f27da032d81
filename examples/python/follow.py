"""Follow the changes and keep each balance: python follow.py STATE_FILE [TICKS]. Needs pika.

STATE_FILE has the balances as of the last complete tick. With TICKS it ends after so many ticks.
"""

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pika

URL = os.environ.get("RABBITMQ_URL", "amqp://user:password@127.0.0.1:5672/%2F")
EXCHANGE = "changes"
QUEUE = os.environ.get("CHANGES_QUEUE", "changes.example")  # changes.*: our broker bounds it
KEYS = ("transaction.*", "provider.*", "balance.read", "tick.closed")
NOTHING = {"epoch": 0, "closed": "", "balances": {}}


class Follower:
    """What is known as of the last complete tick, and what has come since."""

    def __init__(self, path: Path) -> None:
        """Go on from the file, if it is there."""
        self.path = path
        self.state: dict[str, Any] = json.loads(path.read_text()) if path.exists() else NOTHING
        # By the tick's token, then by id: a tick that was begun and never closed is left out, and
        # what comes twice counts once.
        self.changes: defaultdict[str, dict[str, Any]] = defaultdict(dict)

    def take(self, event: dict[str, Any]) -> bool:
        """Take the next event; say whether a tick is complete, and so may be acknowledged."""
        if event["event"] != "tick.closed":
            parts = event["id"].split(":")
            self.changes[":".join(parts[:-1] if parts[1] == "r" else parts[:1])][event["id"]] = (
                event
            )
            return False
        came = self.changes[event["id"].removesuffix(":tick")].values()
        self.changes = defaultdict(dict)
        if event["anew"]:  # whatever its epoch: what was read replaces everything
            read = {str(one["provider_id"]): one["balance"] for one in came}
            self._close(event, read, complete=len(read) == event["balances"])
        elif event["epoch"] > self.state["epoch"]:  # else it is a repetition
            whole = len(came) == event["transactions"] + event["providers"]
            follows = event["previous_id"] == self.state["closed"]
            self._close(event, self._balances_with(came), complete=whole and follows)
        return True

    def _balances_with(self, came: Iterable[dict[str, Any]]) -> dict[str, str]:
        # Minor units, as decimal strings: an int holds all of it, a float does not.
        balances = dict(self.state["balances"])
        for one in came:
            provider = str(one["provider_id"])
            balances[provider] = str(int(balances.get(provider, 0)) + int(one["amount"]))
        return balances

    def _close(self, event: dict[str, Any], balances: dict[str, str], *, complete: bool) -> None:
        if not complete:
            print(f"tick {event['epoch']}: missed something; ask for: ops followers anew feed")
            return
        self.state = {"epoch": event["epoch"], "closed": event["id"], "balances": balances}
        aside = self.path.with_suffix(".new")
        aside.write_text(json.dumps(self.state))
        aside.replace(self.path)  # all of it or nothing, before it is acknowledged
        print(f"tick {event['epoch']} {event['tick']}: {len(balances)} balances", flush=True)


def main() -> None:
    """Consume; acknowledge what a complete tick consists of, so that the rest comes again."""
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python follow.py STATE_FILE [TICKS]")
    state_file, *most = sys.argv[1:]
    follower, ticks = Follower(Path(state_file)), 0
    with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "topic", durable=True)
        channel.queue_declare(QUEUE, durable=True)
        for key in KEYS:
            channel.queue_bind(QUEUE, EXCHANGE, key)
        channel.basic_qos(prefetch_count=0)  # a whole tick is in hand before it is acknowledged
        for method, _, body in channel.consume(QUEUE):
            before = follower.state["closed"]
            if not follower.take(json.loads(body)):
                continue
            channel.basic_ack(method.delivery_tag or 0, multiple=True)
            ticks += follower.state["closed"] != before
            if most and ticks >= int(most[0]):
                break


if __name__ == "__main__":
    main()
