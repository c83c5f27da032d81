"""Section 5: dead letters by state and reason."""

from typing import Any

from ops.status.snapshot import Down, Snapshot


def view(snapshot: Snapshot) -> dict[str, Any]:
    """Return the groups of dead letters, or why they are not known."""
    ledger = snapshot.postgres
    if isinstance(ledger, Down):
        return {"error": ledger.error, "groups": []}
    return {"error": "", "groups": ledger.dead}
