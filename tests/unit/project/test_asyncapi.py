"""docs/asyncapi.yaml names what the code names; the code takes its examples."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML

from services.feed import service as feeding
from services.notifier import answers, prices, records
from services.notifier import core as notifier
from services.notifier import service as notifying
from services.observer import core as observer
from services.syncer import projection
from shared import (
    alert,
    change_record,
    json_object,
    price,
    request_message,
    settings,
    shard,
    tick,
)
from shared.amqp import ticks
from shared.ledger.request import Document
from shared.transaction_body import Limits, decode
from shared.version import VERSION
from tests.support.alert_records import HISTORY_S
from tests.support.containers import ROOT
from tests.support.schemas import assert_fits
from tools import messages

PATH = ROOT / "docs" / "asyncapi.yaml"
CONTRACT: dict[str, Any] = YAML(typ="safe").load(PATH)


def binding(of: dict[str, Any]) -> dict[str, Any]:
    return dict(of["bindings"]["amqp"])


def examples(message: str) -> list[Any]:
    return [one["payload"] for one in CONTRACT["components"]["messages"][message]["examples"]]


def references(inside: Any) -> list[str]:
    if isinstance(inside, list):
        return [found for one in inside for found in references(one)]
    if isinstance(inside, dict):
        own = [inside["$ref"]] if "$ref" in inside else []
        return own + references(list(inside.values()))
    return []


def leads_somewhere(reference: str) -> bool:
    file, _, path = reference.partition("#")
    if file:
        return (PATH.parent / file).is_file()
    found: Any = CONTRACT
    for part in Path(path).parts[1:]:
        if part not in found:
            return False
        found = found[part]
    return True


def test_it_is_of_this_version_and_every_reference_leads_somewhere() -> None:
    assert CONTRACT["info"]["version"] == VERSION
    assert references(CONTRACT)
    assert [one for one in references(CONTRACT) if not leads_somewhere(one)] == []


def test_queues_and_the_exchange_are_those_of_the_code() -> None:
    channels = CONTRACT["channels"]
    transactions = binding(channels["transactions"])["queue"]
    syncer = binding(channels["syncerTicks"])["queue"]
    exchange = binding(channels["ticks"])["exchange"]

    assert transactions["name"] == channels["transactions"]["address"]
    assert transactions["name"] == settings.SourceSettings.model_fields["ingest_queue"].default
    assert syncer["name"] == channels["syncerTicks"]["address"] == ticks.QUEUE
    assert (exchange["name"], exchange["type"]) == (ticks.EXCHANGE, "fanout")
    assert [one["durable"] for one in (transactions, syncer, exchange)] == [True] * 3
    of_shards = binding(channels["transactionsOfShards"])["exchange"]
    assert (of_shards["name"], of_shards["type"]) == (shard.EXCHANGE, "direct")


def test_the_exchanges_and_queues_around_the_core_are_those_of_the_code() -> None:
    channels = CONTRACT["channels"]
    exchanges = {one: binding(channels[one])["exchange"] for one in ("changes", "notifications")}
    queues = {one: binding(channels[one])["queue"] for one in ("alerts", "delivered", "prices")}

    assert exchanges["changes"]["name"] == feeding.EXCHANGE
    assert exchanges["notifications"]["name"] == notifying.EXCHANGE
    assert {one["type"] for one in exchanges.values()} == {"topic"}
    assert queues["alerts"]["name"] == channels["alerts"]["address"] == records.QUEUE
    assert queues["prices"]["name"] == channels["prices"]["address"] == prices.QUEUE
    assert queues["delivered"]["name"] == channels["delivered"]["address"] == answers.QUEUE
    assert all(one["durable"] for one in (*exchanges.values(), *queues.values()))


@pytest.mark.parametrize(
    ("message", "schema"),
    [
        ("change", "change.json"),
        ("balanceChange", "balance-change.json"),
        ("tickClosed", "tick-closed.json"),
        ("notification", "notification.json"),
    ],
)
def test_what_is_shown_of_events_is_what_the_code_sends(message: str, schema: str) -> None:
    for one in examples(message):
        assert_fits(one, schema)


def test_a_notification_has_the_fields_that_its_schema_says() -> None:
    sent, said = map(msgspec.structs.fields, (notifier.Notification, messages.Notification))

    assert [one.encode_name for one in sent] == [one.encode_name for one in said]


def test_the_notifier_takes_the_examples_of_records_and_answers() -> None:
    for one in examples("alertRecord"):
        assert_fits(one, "alert-record.json")
        found = change_record.decode(msgspec.json.encode(one), records.KIND)
        if found.operation != "REMOVED":
            alert.read(found.content, HISTORY_S)
    for one in examples("priceRecord"):
        assert_fits(one, "price-record.json")
        found = change_record.decode(msgspec.json.encode(one), prices.KIND)
        if found.operation != "REMOVED":
            price.read(found.content)
    for one in examples("answer"):
        assert_fits(one, "notification-delivered.json")
        assert json_object.read(msgspec.json.encode(one)) == one


def test_requests_and_replies_are_those_of_the_tracker() -> None:
    queue = binding(CONTRACT["channels"]["requests"])["queue"]

    assert queue["name"] == CONTRACT["channels"]["requests"]["address"] == request_message.QUEUE
    for message, schema in (("request", "request.json"), ("question", "question.json")):
        for one in examples(message):
            assert_fits(one, schema)
            request_message.read(msgspec.json.encode(one))
    for message, schema in (
        ("requestReply", "request-reply.json"),
        ("questionAnswer", "question-answer.json"),
        ("requestRefusal", "request-refusal.json"),
    ):
        for one in examples(message):
            assert_fits(one, schema)
    said = {one.encode_name for one in msgspec.structs.fields(messages.RequestReply)}
    assert said == {one.name for one in dataclasses.fields(Document)} | {"location"}


def test_a_sighting_is_what_the_observer_reads() -> None:
    queue = binding(CONTRACT["channels"]["sightings"])["queue"]

    assert queue["name"] == CONTRACT["channels"]["sightings"]["address"] == observer.QUEUE
    for one in examples("sighting"):
        assert_fits(one, "sighting.json")
        assert observer.object_id(msgspec.json.encode(one)) == one["object_id"]


def test_a_tick_lives_as_long_and_is_as_persistent_as_the_ticker_makes_it() -> None:
    sent = binding(CONTRACT["operations"]["announceTick"])
    interval_s = settings.TickSettings.model_fields["tick_interval_seconds"].default

    assert sent["deliveryMode"] == ticks.TRANSIENT
    assert sent["expiration"] == interval_s * 1000


def test_the_code_takes_the_examples_and_sends_what_they_show() -> None:
    for one in examples("transaction"):
        decode(msgspec.json.encode(one), Limits(1000))
    for one in examples("tick"):
        assert_fits(one, "tick.json")
        tick.decode(msgspec.json.encode(one))
    (shown,) = examples("shown")
    assert_fits(shown, "shown.json")
    told = projection.HINT % (shown["tick"], shown["epoch"], shown["changed"])
    assert json.loads(told) == shown


def test_the_channel_is_the_one_that_readers_are_told_on() -> None:
    script = (ROOT / "services" / "syncer" / "publish.lua").read_text(encoding="utf-8")

    assert f"'{CONTRACT['channels']['shown']['address']}'" in script
