"""`ops send` and `ops load`."""

import io
import itertools
import random
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import click
from rich.text import Text

from ops import deployment
from ops.answer import Answer, answering
from ops.progress import bar
from ops.traffic import core, store
from ops.traffic.core import Draft, Invalid
from ops.traffic.sender import Sender
from ops.wording import count
from services.ingest.body import Limits
from shared import program, settings
from shared.amqp import consumer
from shared.amqp.producer import Fate, Outgoing
from shared.errors import Refusal

PROVIDERS_MAX = 10_000
INVALID_SHOWN = 10
IDENTITIES = {"random": core.random_identity, "content": core.content_identity}


class SendSettings(deployment.QueueSettings, deployment.BodySettings):
    """Where to send to, and what ingest takes."""


@click.command()
@click.argument("transactions", metavar="[PROVIDER=VALUE | JSON]...", nargs=-1)
@click.option("--file", type=click.File("rb"), help="Read this instead; - is standard input.")
@click.option(
    "--format", "kind", type=click.Choice(["auto", "jsonl", "csv"]), default="auto",
    help="Of --file: JSON lines, or CSV with a header (id, value, message_id). By its name: auto.",
)  # fmt: skip
@click.option(
    "--ids", type=click.Choice(list(IDENTITIES)), default="random", show_default=True,
    help="message_id where none is given; content: the same for the same line, harmless twice.",
)  # fmt: skip
@click.option("--message-id", help="The identity of the only transaction.")
@click.option("--rate", type=click.FloatRange(min=0.01), help="Messages per second at most.")
@click.option("--declare", is_flag=True, help="Make the queue, durable, where there is none yet.")
@click.option("--unchecked", is_flag=True, help="Send also what ingest will make dead letters of.")
@answering
def send(**given: Any) -> Answer:  # noqa: ANN401 - what click collected
    """Send transactions, persistent and confirmed. Exit 1 unless every one was confirmed."""
    chosen = settings.load(SendSettings)
    source = core.messages(
        _drafts(given),
        IDENTITIES[given["ids"]],
        Limits(chosen.ingest_body_max_bytes),
        checked=not given["unchecked"],
    )
    if given["declare"]:
        _declare(chosen)
    stop = program.stop_on_signals()
    total = len(given["transactions"]) or None
    with bar("confirmed", total) as progress:
        sender = Sender(
            chosen, stop, rate_per_s=given["rate"], on_fate=lambda _message, _fate: progress(1)
        )
        sender.run(source)
    return _answer(sender, chosen, {"stopped": stop.is_set()})


@click.command(short_help="Send made-up transactions at a rate.")
@click.option(
    "--rate", type=click.FloatRange(min=0.01), default=100, show_default=True,
    help="Messages per second.",
)  # fmt: skip
@click.option("--provider", type=int, multiple=True, help="For these; else all that Postgres has.")
@click.option("--least", type=int, default=-1000, show_default=True, help="The least amount.")
@click.option("--most", type=int, default=1000, show_default=True, help="The largest amount.")
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
        sender.run(_made_up(given, providers))
    return _answer(sender, chosen, {"providers": confirmed.as_rows()})


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


def _declare(chosen: SendSettings) -> None:
    with consumer.connection(chosen, name="ops") as broker:
        broker.declare(chosen.source, kind="stream" if chosen.ingest_stream else None)


def _drafts(given: dict[str, Any]) -> Iterator[Draft | Invalid]:
    transactions: Sequence[str] = given["transactions"]
    if bool(transactions) == bool(given["file"]):
        raise click.UsageError("give either transactions or --file (- is standard input)")
    if given["message_id"] is not None:
        if len(transactions) != 1:
            raise click.UsageError("--message-id is for exactly one transaction")
        return (
            one if isinstance(one, Invalid) else one._replace(message_id=given["message_id"])
            for one in core.from_arguments(transactions)
        )
    if transactions:
        return core.from_arguments(transactions)
    return _read(given["file"], given["kind"])


def _read(file: BinaryIO, kind: str) -> Iterator[Draft | Invalid]:
    if kind == "csv" or (kind == "auto" and file.name.endswith(".csv")):
        return core.from_csv(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
    return core.from_lines(file)


def _all_providers() -> list[int]:
    with deployment.ledger(settings.load(settings.PostgresSettings)) as conn:
        found = store.providers(conn, PROVIDERS_MAX)
    if not found:
        raise Refusal("there is no provider to send for: ops provider add NAME INITIAL")
    return found


def _made_up(given: dict[str, Any], providers: Sequence[int]) -> Iterator[Outgoing]:
    chance = random.Random(given["seed"])  # noqa: S311 - traffic, no secret
    run = uuid.uuid4().hex
    ends = time.monotonic() + given["for_s"] if given["for_s"] else None
    for number in itertools.count():
        if ends is not None and time.monotonic() > ends:
            return
        provider = chance.choice(providers)
        amount = chance.randint(given["least"], given["most"])
        identity = f"load:{run}:{number}:{provider}:{amount}"
        yield Outgoing(core.body_of(provider, amount), identity)


def _answer(sender: Sender, chosen: deployment.QueueSettings, further: dict[str, Any]) -> Answer:
    seconds = sender.seconds
    document = {
        "confirmed": sender.confirmed,
        "unroutable": sender.fates["unroutable"],
        "refused": sender.fates["refused"],
        "undecided": sender.undecided,
        "invalid": sender.invalid_lines,
        "invalid_lines": [{"line": one.line, "why": one.why} for one in sender.invalid],
        "seconds": round(seconds, 3),
        "per_second": round(sender.confirmed / seconds, 1) if seconds else 0.0,
        **further,
    }
    if sender.failure is not None:
        document["error"] = {"kind": "rabbitmq cannot be reached", "detail": sender.failure.detail}
    view = Text("\n".join(_says(document, chosen.source)))
    return Answer(document, view, _code(sender, document))


def _code(sender: Sender, document: dict[str, Any]) -> int:
    if sender.failure is not None:
        return program.EXIT_UNREACHABLE
    return 0 if sender.complete and not document.get("stopped") else program.EXIT_FINDING


def _says(document: dict[str, Any], queue: str) -> Iterator[str]:
    yield (
        f"{count(document['confirmed'], 'message')} confirmed in {document['seconds']} s"
        f" ({document['per_second']:,}/s)"
    )
    if document["unroutable"]:
        back = f"{document['unroutable']:,} came back: there is no queue {queue}"
        yield f"{back} (start ingest, or send them with --declare)"
    if document["refused"]:
        yield f"{document['refused']:,} refused by the broker: send them again"
    if document["undecided"]:
        yield f"{document['undecided']:,} may or may not have arrived: send them again"
    for one in document["invalid_lines"][:INVALID_SHOWN]:
        yield f"line {one['line']} was not sent: {one['why']}"
    if document["invalid"] > INVALID_SHOWN:
        yield f"and {document['invalid'] - INVALID_SHOWN:,} more lines"
    if document.get("stopped"):
        yield "stopped before the end"
    if "error" in document:
        yield f"gave up: {document['error']['detail']}"
    for one in document.get("providers", ()):
        yield f"provider {one['provider']}: {one['messages']:,} messages, {one['amount']:+,}"
