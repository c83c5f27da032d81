"""`ops load`: made-up transactions at a rate."""

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, LiteralString

import click

from ops import deployment
from ops.answer import Answer, answering
from ops.progress import bar
from ops.sending import view
from ops.sending.producer import Outgoing
from ops.sending.rows import NEEDED, body_of
from ops.sending.sender import Sender
from shared import program, settings
from shared.amqp.confirms import Fate
from shared.errors import Refusal
from shared.transaction_body import INT64_MAX, INT64_MIN
from shared.unique_ids import FIRST_NUMBER, time_ordered

PROVIDERS_MAX = 10_000
SELECT_PROVIDERS: LiteralString = "SELECT id FROM initial_data ORDER BY id LIMIT %(most)s"

INT64 = click.IntRange(INT64_MIN, INT64_MAX)


@click.command(short_help="Send made-up transactions at a rate.")
@click.option(
    "--rate", type=click.FloatRange(min=0.01), default=100, show_default=True,
    help="Messages per second.",
)  # fmt: skip
@click.option(
    "--provider", type=INT64, multiple=True, help="For these; else all that Postgres has."
)
@click.option("--least", type=INT64, default=-1000, show_default=True, help="The least amount.")
@click.option("--most", type=INT64, default=1000, show_default=True, help="The largest amount.")
@click.option("--for", "for_s", type=click.FloatRange(min=0.1), help="Seconds; else until Ctrl-C.")
@click.option("--seed", type=int, help="The same amounts again.")
@answering
def load(**given: Any) -> Answer:  # noqa: ANN401 - what click collected
    """Send made-up transactions at a rate until stopped; say what was confirmed, per provider.

    They are real to Minutebook: balances change by exactly what is said at the end.
    """
    if given["least"] > given["most"]:
        raise click.UsageError("--least is above --most")
    chosen = settings.load(deployment.QueueSettings)
    if chosen.identity_field in NEEDED:
        raise Refusal(f"INGEST_MESSAGE_ID={chosen.ingest_message_id} leaves no room for identities")
    providers = given["provider"] or _all_providers()
    confirmed = Confirmed()
    with bar("confirmed", None) as progress:

        def on_fate(message: Outgoing, fate: Fate) -> None:
            progress(1)
            if fate == "confirmed":
                confirmed.add(message)

        sender = Sender(
            chosen, program.stop_on_signals(), rate_per_s=given["rate"], on_fate=on_fate
        )
        sender.run(_made_up(given, providers, chosen))
    document = view.document(sender) | {"providers": confirmed.as_rows()}
    return view.answer(sender, document, chosen.target)


class Confirmed:
    """What the broker has taken, per provider."""

    def __init__(self) -> None:
        self._messages: dict[int, int] = {}
        self._amounts: dict[int, int] = {}

    def add(self, message: Outgoing) -> None:
        """Count one message of ours: its identity ends in provider and amount."""
        _, provider, amount = message.message_id.rsplit(":", 2)
        key = int(provider)
        self._messages[key] = self._messages.get(key, 0) + 1
        self._amounts[key] = self._amounts.get(key, 0) + int(amount)

    def as_rows(self) -> list[dict[str, int]]:
        """Return messages and amount by provider."""
        return [
            {"provider": one, "messages": self._messages[one], "amount": self._amounts[one]}
            for one in sorted(self._messages)
        ]


def _all_providers() -> list[int]:
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        found = [one for (one,) in conn.execute(SELECT_PROVIDERS, {"most": PROVIDERS_MAX})]
    if not found:
        raise Refusal("there is no provider to send for: ops provider add NAME INITIAL")
    return found


def _made_up(
    given: dict[str, Any], providers: Sequence[int], chosen: deployment.QueueSettings
) -> Iterator[Outgoing]:
    """Yield messages with an identity, in the body, too, if ingest looks there."""
    field, shard = chosen.identity_field, chosen.own_shard
    chance = random.Random(given["seed"])  # noqa: S311 - traffic, no secret
    run = time_ordered().hex
    ends = time.monotonic() + given["for_s"] if given["for_s"] else None
    for number in itertools.count(FIRST_NUMBER):
        if ends is not None and time.monotonic() > ends:
            return
        provider = chance.choice(providers)
        amount = chance.randint(given["least"], given["most"])
        identity = f"load:{run}:{number}:{provider}:{amount}"
        more = {field: identity} if field else {}
        yield Outgoing(body_of(provider, amount, **more), identity, shard.route(provider))
