"""The lower part of docs/api.md: reasons, and each route, from the OpenAPI document."""

from collections.abc import Iterator, Mapping
from typing import Any

from services.gateway.problems import Reason

Json = dict[str, Any]

MARK = "<!-- From here on by `make schemas`, from the gateway's routes: not by hand. -->"
MEANINGS: Mapping[Reason, str] = {
    "bad_request": "no HTTP, or a header that is there twice",
    "bad_key": "`Idempotency-Key` is not 1 to 200 of the characters that are allowed",
    "bad_reply_to": "`Reply-To` is no reply queue",
    "bad_correlation_id": "`Correlation-Id` is longer than 255 or not printable ASCII",
    "bad_header": "the first row of CSV has other names than `id`, `value`, `message_id`",
    "not_json": "no JSON, or too deep",
    "not_utf8": "not in UTF-8",
    "not_csv": "no CSV (RFC 4180)",
    "incomplete": "the body broke off",
    "no_items": "nothing is in it",
    "unfit_items": "items that cannot become rows: see `errors`",
    "wrong_shard": "all that is unfit is another shard's: its gateway takes it",
    "unfit": "the body does not say what it should: see `errors`",
    "idempotency_conflict": "the key was used for other items, or by another token",
    "invalid_parameter": "a parameter that does not fit: see `errors`",
    "unsupported_media_type": "another media type, or another charset than UTF-8",
    "unsupported_encoding": "a compressed body",
    "unauthorized": "no token, or one that is not known",
    "forbidden": "the token lacks the scope",
    "too_large": "a body above its limit",
    "too_many_items": "more items than are allowed",
    "head_too_large": "a head above its limit",
    "timeout": "head or body came too slowly",
    "too_many_requests": "too much is on its way",
    "too_many_streams": "too many event streams are open",
    "too_many_connections": "too many connections are open",
    "not_found": "no such path, or no such provider",
    "method_not_allowed": "the path has no such method: see `Allow`",
    "not_known_yet": "nothing is known of it; it may be on its way",
    "not_kept": "past its retention",
    "yet_to_come": "a time in the future",
    "too_long": "more points or movements than one answer has",
    "broker_unavailable": "RabbitMQ is away, has an alarm, or did not confirm: the key settles it",
    "queue_full": "the queue takes nothing: its consumer is away, or too slow",
    "unroutable": "the broker's definitions are not all there",
    "postgres_unavailable": "Postgres is away, or too busy",
    "internal_error": "a bug of ours; the log has it under the `X-Request-Id`",
}


def page(now: str, document: Json) -> str:
    """Return docs/api.md with its lower part renewed; `now` is the file's text."""
    upper = now.partition(MARK)[0]
    return "\n".join([f"{upper}{MARK}\n", *_reasons(), "## Routes\n", *_routes(document)])


def _reasons() -> Iterator[str]:
    yield "## Reasons\n"
    yield (
        "A failure is a problem document (RFC 9457, `application/problem+json`): `type`, `title`,"
        " `status`,\n`reason`, `detail`. A program decides by `reason`:\n"
    )
    yield "| reason | means |\n|---|---|"
    yield from (f"| `{reason}` | {meaning} |" for reason, meaning in MEANINGS.items())
    yield ""


def _routes(document: Json) -> Iterator[str]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"### {method.upper()} {path}\n"
            yield f"{operation['summary']}. {operation.get('description', '')}".strip() + "\n"
            yield from _facts(operation)


def _facts(operation: Json) -> Iterator[str]:
    needs = [scope for one in operation.get("security", ()) for scope in one["bearer"]]
    taken = operation.get("requestBody", {}).get("content", {})
    facts = {
        "token": ", ".join(needs) or "none",
        "body": ", ".join(f"`{one}`" for one in taken),
        "answers": ", ".join(operation["responses"]),
    }
    yield "; ".join(f"{name}: {fact}" for name, fact in facts.items() if fact) + ".\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in | means |\n|---|---|---|"
        for one in parameters:
            said = one.get("description") or one["schema"].get("description", "")
            yield f"| `{one['name']}` | {one['in']} | {said} |"
        yield ""
