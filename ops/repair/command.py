"""`ops rebuild`."""

import click
from rich.text import Text

from ops import deployment
from ops.answer import Answer, answering
from ops.repair.rebuild import rebuild
from ops.wording import count
from services.syncer.projection import Projection
from services.syncer.store import OPTIONS
from shared import keydb, settings


class StoreSettings(settings.PostgresSettings, settings.KeydbSettings):
    """Both stores."""


@click.command("rebuild")
@answering
def rebuild_() -> Answer:
    """Send KeyDB every balance of the last tick again, and take away keys of ours that are over.

    Safe beside running syncers: it goes by the same compare-and-set. Readers see the watermark's
    token begin with "partial:" for that moment.
    """
    chosen = settings.load(StoreSettings)
    with (
        deployment.ledger(chosen, options=OPTIONS) as conn,
        keydb.client(chosen, name="ops") as client,
    ):
        done = rebuild(conn, Projection(client))
    says = f"{count(done.keys, 'key')} sent, {done.removed:,} removed: KeyDB shows {done.boundary}"
    return Answer(done, Text(says))
