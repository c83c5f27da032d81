"""Dead letters that are another shard's, sent on to it: published, persistent and confirmed."""

import threading
from collections.abc import Sequence

from ops import deployment
from ops.sending.producer import Outgoing, producing
from shared.amqp.confirms import Fate
from shared.errors import Unavailable

WITHIN_S = 30.0
"""How long confirms are waited for."""


def send_on(chosen: deployment.QueueSettings, messages: Sequence[Outgoing]) -> None:
    """Publish all by their routing keys; return once the broker has every one safe.

    Whoever sends them twice sends them under the same identities. Raises `Unavailable`, after which
    any of them may have come.
    """
    fates: list[Fate] = []
    header = chosen.identity_header
    with producing(
        chosen, chosen.source, lambda _, fate: fates.append(fate), name="ops", header=header
    ) as producer:
        for one in messages:
            producer.put(one, threading.Event())
        if not producer.flush(WITHIN_S):
            raise Unavailable("rabbitmq", f"no confirm in {WITHIN_S:g} s")
    if failures := {fate for fate in fates if fate != "confirmed"}:
        said = ", ".join(sorted(failures))
        raise Unavailable("rabbitmq", f"another shard's queue did not take a message: {said}")
