"""How Schemathesis writes the bodies that are text: what it made up, as it is."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson", "text/csv")
def as_text(_ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    """Return the body."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
