"""A message of any size that the broker takes is one dead letter, in memory that a limit holds."""

import hashlib
from pathlib import Path

import psycopg

from shared.amqp.delivery_parser import BODY_KEPT_MAX
from tests.support import messages
from tests.support.eventually import eventually
from tests.support.messages import body, rows
from tests.support.programs import Program

SIZE = 125 * 2**20
"""RabbitMQ 3.12 takes 128 MiB by default."""
PEAK_MIB_MAX = 300
"""compose.yaml gives ingest 512 MiB."""
KEPT = f"only the first {BODY_KEPT_MAX} are kept"
DEAD_LETTER = """
SELECT reason, error, octet_length(body), sha256(substring(body FOR %s)),
       convert_from(substring(body FROM %s), 'UTF8')
  FROM dead_letter
 ORDER BY id
"""


def test_messages_of_125_mib_that_begin_alike_are_a_dead_letter_each_that_says_what_it_was(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    messages.add_providers(conn)
    large = [body(1, 5).ljust(SIZE - 1) + end for end in (b"1", b"2")]
    with messages.ingest(dsn, amqp_url) as ingest:
        messages.consuming(ingest)
        messages.publish(amqp_url, *large, body(1, 600), identities=["large", "large", "m1"])
        eventually(lambda: rows(conn) == [(1, 600)], 60)
        assert peak_mib(ingest) < PEAK_MIB_MAX
        messages.queue_drained(ingest, amqp_url)
        assert ingest.logs().count('"consuming"') == 1
    dead_letters = conn.execute(DEAD_LETTER, [BODY_KEPT_MAX, BODY_KEPT_MAX + 1]).fetchall()
    assert dead_letters == [dead_letter(one) for one in large]


def dead_letter(large: bytes) -> tuple[object, ...]:
    digest = hashlib.sha256(large).hexdigest()
    note = f"\n[cut: {SIZE} bytes in all, SHA-256 {digest}]\n"
    return (
        "too_large",
        f"{SIZE} bytes; the limit is 65536; {KEPT} (SHA-256 of all: {digest})",
        BODY_KEPT_MAX + len(note),
        hashlib.sha256(large[:BODY_KEPT_MAX]).digest(),
        note,
    )


def peak_mib(program: Program) -> float:
    """Return the most memory that a program has used, as the kernel counts it."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
