"""What is written by HTTP: each request is one message, answered once the broker has it safe."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message as Headers
from functools import lru_cache

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.gateway import core, http_request, metrics, sightings, tokens
from services.gateway.http_request import BodyLimits, HttpRequest, InHand
from services.gateway.known import KnownRequests
from services.gateway.problems import Problem, Reason
from services.gateway.producer import NotTaken, Outgoing, Producer
from services.gateway.tokens import Token
from shared import request_message
from shared.change_record import NAME_BYTES_MAX
from shared.errors import Unavailable
from shared.shard import ONLY, Shard
from shared.transaction_body import Limits

SIGHTINGS = "sightings"
"""A routing key of the exchange, and the queue behind it."""
OWN_REPLIES = "amq.rabbitmq.reply-to"
"""Of a channel, which HTTP has not: to name it would cost us the connection."""
PRINTABLE = re.compile(r"[ -~]*", re.ASCII)
RETRY_AFTER_S = 2


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is accepted at most."""

    body: BodyLimits
    items_max: int
    in_flight_max: int


@dataclass(slots=True)
class Acceptor:
    """Accepts requests by HTTP. `limits` are the columns', as soon as Postgres has said them.

    What it accepts goes to the services of its `shard`; sightings are of none.
    """

    producer: Producer
    known: KnownRequests
    tokens: Sequence[Token]
    bounds: Bounds
    limits: Limits
    shard: Shard = ONLY
    in_hand: InHand = field(default_factory=InHand)
    in_flight: int = 0

    def use_limits(self, limits: Limits) -> None:
        """Use other limits from now on; called by the thread that reads them."""
        self.limits = limits

    async def transactions(self, request: Request) -> Response:
        """Accept one object, an array, lines of JSON or CSV, all or nothing."""
        found = self.begin(request)
        key = self._key(found)
        replying = _replying(found)
        read = _reader(found)
        body = await found.body(self.bounds.body, self.in_hand)
        items = read(body, self.limits, self.bounds.items_max)
        by = found.by or ""
        found.key, found.items = key or found.own_id(), len(items)
        core.check_identities(found.key, items)
        if key and await self.known.conflicts(key, by, items):
            detail = "this key was used for another request: by another token, or with other items"
            raise Problem(422, "idempotency_conflict", detail)
        message = core.encode(found.key, by, items)
        await self.publish(
            found, [Outgoing(self.shard.name(request_message.QUEUE), found.key, message)], replying
        )
        metrics.ITEMS.inc(len(items))
        answer = msgspec.json.encode({"request": found.key, "items": len(items)})
        headers = {"Location": f"/v1/requests/{found.key}", "Idempotency-Key": found.key}
        return Response(answer, 202, headers, "application/json")

    async def callback(self, request: Request) -> Response:
        """Accept object ids that somebody has seen: each is a message to the observer."""
        found = self.begin(request)
        body = await self.json_body(found)
        ids = sightings.read(body, self.bounds.items_max)
        found.items = len(ids)
        messages = [
            Outgoing(SIGHTINGS, f"{found.request_id}:{number}", sightings.encode(one))
            for number, one in enumerate(ids)
        ]
        await self.publish(found, messages)
        return Response(msgspec.json.encode({"objects": len(ids)}), 202, None, "application/json")

    def begin(self, request: Request) -> HttpRequest:
        """Return the request of one who may write, if the broker can take anything at all."""
        found = http_request.of(request.scope)
        found.kind = "accept"
        found.by = tokens.authorize(self.tokens, found.header(b"authorization"), "write")
        try:
            self.producer.check()
        except Unavailable as error:
            raise _unavailable(error) from error
        return found

    async def json_body(self, found: HttpRequest) -> bytes:
        """Return the body of a request that must be JSON. Raises `Problem`."""
        _media_type(found, ("application/json",))
        return await found.body(self.bounds.body, self.in_hand)

    @staticmethod
    def _key(found: HttpRequest) -> str | None:
        """Return the `Idempotency-Key`, with or without the quotes of a structured field."""
        given = found.header(b"idempotency-key")
        if given is None:
            return None
        key = given[1:-1] if len(given) > 1 and given[0] == given[-1] == '"' else given
        if not request_message.is_key(key):
            detail = "Idempotency-Key must be 1 to 200 of A-Z a-z 0-9 . _ ~ -, not . or .."
            raise Problem(400, "bad_key", detail)
        return key

    async def publish(
        self,
        found: HttpRequest,
        messages: Sequence[Outgoing],
        replying: Mapping[str, str] | None = None,
    ) -> None:
        """Publish all, and wait for all confirms. Raises `Problem`, with the key to repeat."""
        if self.in_flight >= self.bounds.in_flight_max:
            detail = "too many requests are on their way (GATEWAY_IN_FLIGHT_MAX)"
            raise Problem(429, "too_many_requests", detail, retry_after_s=1)
        self.in_flight += 1
        metrics.IN_FLIGHT.set(self.in_flight)
        try:
            await self.producer.publish(messages, found.traceparent, replying or {})
        except NotTaken as error:
            raise _not_taken(error, found.key) from error
        except Unavailable as error:
            raise _unavailable(error, found.key) from error
        finally:
            self.in_flight -= 1
            metrics.IN_FLIGHT.set(self.in_flight)


def _reader(found: HttpRequest) -> core.Reader:
    return core.READERS[_media_type(found, tuple(core.READERS))]


def _media_type(found: HttpRequest, taken: tuple[str, ...]) -> str:
    """Return the media type of the body. Raises `Problem` for another one, or not in UTF-8."""
    kind, charset = _parsed(found.header(b"content-type") or "")
    if kind not in taken or charset not in {"utf-8", "us-ascii"}:
        detail = f"Content-Type must be one of {', '.join(taken)}, in UTF-8"
        headers = {"Accept-Post": ", ".join(taken)}
        raise Problem(415, "unsupported_media_type", detail, headers=headers)
    return kind


@lru_cache(maxsize=64)
def _parsed(content_type: str) -> tuple[str, str]:
    """Return media type and charset, none of what is unreadable.

    The same few come again and again.
    """
    given = Headers()
    given["content-type"] = content_type
    try:
        return given.get_content_type(), given.get_content_charset("utf-8")
    except ValueError:  # a parameter may have a number of any length
        return "", ""


def _replying(found: HttpRequest) -> dict[str, str]:
    """Return where the reply goes, if one is wanted. Raises `Problem`.

    Elsewhere than to a reply queue a reply could do harm: with the tracker's rights it might be a
    tick to the syncer.
    """
    replying: dict[str, str] = {}
    if reply_to := found.header(b"reply-to"):
        if not _is_reply_queue(reply_to):
            detail = "Reply-To must be called replies.*, amq.gen-* or amq.rabbitmq.reply-to.*"
            raise Problem(400, "bad_reply_to", detail)
        replying["reply_to"] = reply_to
    if (correlation_id := found.header(b"correlation-id")) is not None:
        if not _is_short(correlation_id):
            detail = f"Correlation-Id must be up to {NAME_BYTES_MAX} printable characters of ASCII"
            raise Problem(400, "bad_correlation_id", detail)
        replying["correlation_id"] = correlation_id
    return replying


def _is_reply_queue(name: str) -> bool:
    beginning_only = name == "replies." or name.rstrip(".") == OWN_REPLIES or name == "amq.gen-"
    return request_message.is_reply_queue(name) and _is_short(name) and not beginning_only


def _is_short(text: str) -> bool:
    return len(text) <= NAME_BYTES_MAX and PRINTABLE.fullmatch(text) is not None


def _unavailable(error: Unavailable, key: str | None = None) -> Problem:
    """Return the problem of a broker that is away, or did not say whether it has the message."""
    return _again("broker_unavailable", error.detail, key)


def _not_taken(error: NotTaken, key: str | None) -> Problem:
    if error.failure == "refused":
        return _again("queue_full", "the queue takes nothing: it is full, or lost its nodes", key)
    return _again("unroutable", "no queue is bound for it: see the broker's definitions", key)


def _again(reason: Reason, detail: str, key: str | None) -> Problem:
    headers = {"Idempotency-Key": key} if key else {}
    more = {"request": key} if key else {}
    return Problem(503, reason, detail, retry_after_s=RETRY_AFTER_S, headers=headers, **more)
