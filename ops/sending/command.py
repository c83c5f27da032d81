"""`ops send`."""

import signal
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any

import click

from ops import deployment
from ops.answer import Answer, answering
from ops.params import Words
from ops.progress import bar
from ops.sending import source, unconfirmed, view
from ops.sending.batch import NAME_BYTES_MAX
from ops.sending.producer import Outgoing
from ops.sending.record import Record
from ops.sending.rows import NEEDED
from ops.sending.sender import GIVE_UP_AFTER_S, Sender
from ops.sending.source import Rules, Source
from ops.sending.unconfirmed import Unconfirmed
from shared import program, settings
from shared.amqp.channel import STREAM
from shared.amqp.confirms import Fate
from shared.amqp.consumer import Consumer
from shared.shard import EXCHANGE
from shared.transaction_body import Limits

EXAMPLES = """
\b
Examples:
  ops send 1=600 2=-50
  ops send --file payments.csv
  ops send --file payments.csv --batch payments-2026-11-20 --ignore-columns note
  ops send --file - --batch card-fees-november < fees.jsonl
"""


class SendSettings(
    deployment.QueueSettings,
    settings.BodySettings,
    deployment.PlaceSettings,
):
    """Where to send to, and what ingest takes."""


class BatchName(click.ParamType[str]):
    """A name with room behind it for the number of a line."""

    name = "name"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return it; ends with a usage error otherwise."""
        text = str(value)
        if not text or not text.isprintable() or len(text.encode()) > NAME_BYTES_MAX:
            self.fail(f"a name is up to {NAME_BYTES_MAX} bytes of printable text", param, ctx)
        return text


@click.command(epilog=EXAMPLES, short_help="Send transactions, each confirmed.")
@click.argument("transactions", metavar="[PROVIDER=VALUE | JSON]...", nargs=-1, type=Words())
@click.option(
    "--file", "files", type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    multiple=True, help="Read this; - is standard input. May be given several times.",
)  # fmt: skip
@click.option(
    "--format", "kind", type=click.Choice(["auto", "jsonl", "csv"]), default="auto",
    help="JSON lines, or CSV with a header (id, value, message_id). By the content: auto.",
)  # fmt: skip
@click.option("--ignore-columns", multiple=True, help="Columns or fields to leave out: a,b.")
@click.option(
    "--batch", type=BatchName(),
    help="Name of these lines: one without message_id becomes NAME:LINE. Else made of the file's"
    " name and content.",
)  # fmt: skip
@click.option("--again", is_flag=True, help="Send a batch again that was confirmed whole.")
@click.option("--not-a-copy", is_flag=True, help="Other transactions than an alike earlier file's.")
@click.option("--all-or-nothing", is_flag=True, help="Send nothing if any line cannot be sent.")
@click.option(
    "--unconfirmed", metavar="FILE",
    help="Write what was not confirmed, with its identities, to a new FILE that --file takes.",
)  # fmt: skip
@click.option("--message-id", type=Words(), help="The identity of the only transaction.")
@click.option("--rate", type=click.FloatRange(min=0.01), help="Messages per second at most.")
@click.option(
    "--give-up-after", type=click.FloatRange(min=0), default=GIVE_UP_AFTER_S, show_default=True,
    help="Seconds without a broker.",
)  # fmt: skip
@click.option("--declare", is_flag=True, help="Make the queue, durable, where there is none yet.")
@click.option("--unchecked", is_flag=True, help="Send also what ingest will make dead letters of.")
@answering
def send(**given: Any) -> Answer:  # noqa: ANN401 - what click collected
    """Send transactions, persistent and confirmed. Exit 1 unless every one was confirmed.

    All is read and checked first. A file of which a part cannot be understood is refused whole; a
    bad line is named and the others go. The same file sent twice counts once.
    """
    chosen = settings.load(SendSettings)
    with ExitStack() as stack:
        sources = _sources(given, chosen, stack)
        held_back = given["all_or_nothing"] and any(one.invalid_lines for one in sources)
        record = Record([] if held_back else [one.batch for one in sources])
        rest = stack.enter_context(
            unconfirmed.kept(given["unconfirmed"], in_container=chosen.in_compose)
        )
        record.begin(again=given["again"], not_a_copy=given["not_a_copy"])
        if given["declare"]:
            _declare(chosen)
        sender, found = _sent(given, chosen, [] if held_back else sources, rest)
    whole = sender.complete and not found["not_sent"]
    record.end(whole=whole)
    if not whole:
        flags = ["--unchecked"] if given["unchecked"] else []
        found["advice"] = view.advice(sources, found["unconfirmed_file"], flags)
    found |= {"held_back": held_back, **view.of_sources(sources, record)}
    return view.answer(sender, found, chosen.target)


def _sources(given: dict[str, Any], chosen: SendSettings, stack: ExitStack) -> list[Source]:
    """Return what is to be sent, all of it read and checked."""
    transactions: Sequence[str] = given["transactions"]
    files: Sequence[str] = given["files"]
    if bool(transactions) == bool(files):
        raise click.UsageError("give either transactions or --file (- is standard input)")
    if given["message_id"] is not None and (len(transactions) != 1 or not given["message_id"]):
        raise click.UsageError("--message-id is for exactly one transaction, and not empty")
    if given["batch"] is not None and len(files) > 1:
        raise click.UsageError("--batch names the lines of one file: send one after another")
    rules = Rules(
        Limits(chosen.ingest_body_max_bytes),
        checked=not given["unchecked"],
        kind=given["kind"],
        ignored=_ignored(given["ignore_columns"]) | {*filter(None, [chosen.identity_field])},
        field=chosen.identity_field,
        queues=[queue for queue, _ in chosen.sources()],
        shard=chosen.own_shard,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is sent yet: simply end
    if transactions:
        sources = [source.typed(transactions, given["batch"], given["message_id"], rules)]
    else:
        sources = [source.opened(one, given["batch"], rules, stack) for one in files]
    ids: set[int] = set()
    with bar("checked", None) as progress:
        for one in sources:
            one.check(progress, ids)
    return sources


def _ignored(options: Sequence[str]) -> frozenset[str]:
    names = frozenset(one for option in options for one in option.split(","))
    if needed := names.intersection(NEEDED):
        raise click.UsageError(f"--ignore-columns cannot leave out {', '.join(sorted(needed))}")
    return names


def _sent(
    given: dict[str, Any], chosen: SendSettings, sources: Sequence[Source], rest: Unconfirmed
) -> tuple[Sender, dict[str, Any]]:
    """Send until all is decided or a person says stop; say what became of it."""
    stop = program.stop_on_signals()
    total = sum(one.batch.lines for one in sources)
    messages = chain.from_iterable(one.messages() for one in sources)
    with bar("confirmed", total) as progress:

        def on_fate(message: Outgoing, fate: Fate) -> None:
            progress(1)
            if fate != "confirmed":
                rest.add(message)

        sender = Sender(
            chosen,
            stop,
            rate_per_s=given["rate"],
            give_up_after_s=given["give_up_after"],
            on_fate=on_fate,
        )
        if total:
            sender.run(messages)
        if given["unconfirmed"]:
            for message in chain(sender.undecided, messages):
                rest.add(message)
    found = view.document(sender)
    return sender, {
        **found,
        "not_sent": total - sender.fates.total() - len(sender.undecided),
        "stopped": stop.is_set(),
        "unconfirmed_file": given["unconfirmed"] if rest.lines and not rest.trouble else "",
        "unconfirmed_lines": rest.lines,
        "unconfirmed_trouble": rest.trouble,
    }


def _declare(chosen: SendSettings) -> None:
    with Consumer.connected(chosen, name="ops") as broker:
        for queue, key in chosen.sources():
            broker.declare(queue, STREAM if chosen.ingest_stream else None)
            if key:
                broker.bind(queue, EXCHANGE, key)
