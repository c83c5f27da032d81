"""Bodies of messages that become no rows."""

from tests.support.messages import BODY_MAX

# One body for every reason that a body alone can give.
UNFIT_BODIES = {
    "not_utf8": b'{"id": 1, "value": 600, "note": "\xff"}',
    "not_json": b'{"id": 1, "value": 600',
    "not_object": b"[1, 600]",
    "missing_field": b'{"id": 1}',
    "wrong_type": b'{"id": 1, "value": 600.0}',
    "out_of_range": b'{"id": 1, "value": 9223372036854775808}',
    "duplicate_key": b'{"id": 1, "value": 600, "value": 1}',
    "too_large": b'{"id": 1, "value": 600, "note": "%s"}' % (b"x" * BODY_MAX),
}
