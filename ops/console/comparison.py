"""Whether KeyDB shows what Postgres has: with each poll some more providers, all of them in turn.

What differs is looked at again each time until it is the same, or gone.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from ops.console import balance_store
from ops.console.balances import SOON, Balances
from ops.status.core import Finding
from ops.wording import visible
from shared.ledger import balance_page
from shared.postgres_pool import ReadingPool

AT_ONCE = 500
REMEMBERED_MAX = 100
"""More that differ are not looked for before some of these agree again."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A provider of which KeyDB shows something else than the balance of the tick it shows."""

    key: str
    balance: str
    keydb: str | None


class Comparison:
    """Where the comparison stands; used from one thread at a time."""

    def __init__(self, pool: ReadingPool, balances: Balances) -> None:
        """It begins with the first provider; `known` is what differed when last compared, by id."""
        self._pool = pool
        self._balances = balances
        self._after: int | None = None
        self.known: dict[int, Difference] = {}

    def step(self) -> list[Difference]:
        """Compare some more; return all that is known to differ. Raises `Unavailable`."""
        with self._pool.connection() as conn:
            last = balance_store.last(conn, datetime.now(UTC) + SOON)
            if last is None:
                return []
            page = balance_page.page(
                conn, last.boundary, most=AT_ONCE, after=self._after, epoch=last.epoch
            )
            again = balance_store.rows(conn, list(self.known), last.epoch)
        found = {provider_id: (key, balance) for provider_id, key, balance, _ in again}
        found |= {one.provider_id: (one.key, one.balance) for one in page.balances}
        shown = self._balances.in_keydb([key for key, _ in found.values()])
        if shown.epoch == page.epoch:  # else a tick is on its way: compared at the next poll
            differing = {
                provider_id: Difference(key, balance, value)
                for (provider_id, (key, balance)), value in zip(
                    found.items(), shown.values, strict=True
                )
                if value != balance
            }
            if len(differing) <= REMEMBERED_MAX:  # else what is forgotten now would be missed
                self._after = page.after
            self.known = dict(list(differing.items())[:REMEMBERED_MAX])
        return list(self.known.values())


def finding(differing: list[Difference]) -> list[Finding]:
    """Return what is wrong, as `ops status` says it, with its advice."""
    if not differing:
        return []
    one = differing[0]
    shows = "nothing" if one.keydb is None else visible(one.keydb)
    says = f"KeyDB shows {shows} for {visible(one.key)}, whose balance is {one.balance}"
    others = "at least " * (len(differing) >= REMEMBERED_MAX) + str(len(differing) - 1)
    more = f", and {others} more like it" if len(differing) > 1 else ""
    return [Finding("wrong", "keydb", says + more, "ops reconcile; ops rebuild")]
