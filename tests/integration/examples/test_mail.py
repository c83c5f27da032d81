"""The example that sends alerts by mail sends each, names it by its id, and says that it did."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator

import pika
import pytest
from pika.exceptions import AMQPError

from tests.support import mailbox, messages, node_packages
from tests.support.containers import ROOT
from tests.support.eventually import eventually
from tests.support.mailbox import Mailbox

QUEUE, ANSWERS = "notifications.mail", "notifications.delivered"
START_S = 60.0
NOTIFICATION = {
    "id": "7f3a:n:4:1", "alert_id": 4, "source": "users", "source_id": "A", "condition": "below",
    "threshold": "1000", "provider_id": 1, "key": "1_Visa", "balance": "900", "previous": "1300",
    "tick": "2026-11-28T07:00:00Z", "epoch": 12,
}  # fmt: skip


@pytest.fixture
def post() -> Iterator[Mailbox]:
    with mailbox.opened() as opened:
        yield opened


@contextlib.contextmanager
def mailing(amqp_url: str, smtp_url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the example while inside; its queue is there by then."""
    folder = node_packages.installed(ROOT / "examples" / "node")
    settings = {"MAIL_FROM": "minutebook@example.org", "MAIL_TO": "ops@example.org"}
    environment = {"PATH": os.environ["PATH"], "RABBITMQ_URL": amqp_url, "SMTP_URL": smtp_url}
    with subprocess.Popen(
        ["node", "mail.mjs"], cwd=folder, env=environment | settings, stderr=subprocess.PIPE
    ) as process:
        try:
            eventually(lambda: waiting(amqp_url, QUEUE) is not None, START_S)
            yield process
        finally:
            process.kill()


def waiting(amqp_url: str, queue: str) -> int | None:
    """Return how many messages wait in a queue; None without one."""
    with contextlib.suppress(AMQPError), messages.channel(amqp_url) as observer:
        return int(observer.queue_declare(queue, passive=True).method.message_count)
    return None


def notify(amqp_url: str, body: bytes) -> None:
    with messages.channel(amqp_url) as notifier:
        notifier.queue_declare(ANSWERS, durable=True)
        notifier.confirm_delivery()
        about = pika.BasicProperties(message_id="7f3a:n:4:1", delivery_mode=2)
        notifier.basic_publish("", QUEUE, body, about)


def test_a_notification_becomes_a_mail_and_an_answer(amqp_url: str, post: Mailbox) -> None:
    with mailing(amqp_url, post.url):
        notify(amqp_url, json.dumps(NOTIFICATION).encode())
        eventually(lambda: waiting(amqp_url, ANSWERS) == 1, START_S)

    (mail,) = post.mails
    assert mail["Subject"] == "1_Visa: below 1000"
    assert mail["Message-ID"] == "<7f3a.n.4.1@minutebook>"
    assert "1_Visa has 900, before 1300, as of 2026-11-28T07:00:00Z." in mail.get_content()
    with messages.channel(amqp_url) as consumer:
        _, _, answer = consumer.basic_get(ANSWERS, auto_ack=True)
    assert json.loads(answer or b"") == {"id": "7f3a:n:4:1"}


def test_what_could_not_be_mailed_is_not_acknowledged(amqp_url: str) -> None:
    with mailing(amqp_url, "smtp://127.0.0.1:9") as process:
        notify(amqp_url, json.dumps(NOTIFICATION).encode())
        assert process.wait(START_S) != 0

    eventually(lambda: waiting(amqp_url, QUEUE) == 1)


def test_without_its_settings_it_says_how_it_is_called() -> None:
    done = subprocess.run(
        ["node", "mail.mjs"],
        cwd=node_packages.installed(ROOT / "examples" / "node"),
        capture_output=True,
        check=False,
        timeout=START_S,
        env={"PATH": os.environ["PATH"]},
    )

    assert done.returncode != 0
    assert done.stderr.startswith(b"usage: "), done
