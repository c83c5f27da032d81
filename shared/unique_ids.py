"""Ids that nobody else makes, in the order of time: UUIDs of version 7 (RFC 9562, section 5.7).

A random id touches a random page of the index that it is stored in; ids that begin with the time
touch the last one. From Python 3.14 on the standard library has `uuid.uuid7`.
"""

import secrets
import time
from uuid import UUID

FIRST_NUMBER = 10**12
"""Numbers behind such an id begin here: of equal length, they are in order as text, too."""

MILLIS_BITS, RANDOM_BITS = 48, 80
VERSION_AND_VARIANT = 0xF000_C000_0000_0000_0000
"""The bits, of those 80, in which the RFC has the version and the variant."""
VERSION_7_VARIANT_RFC = 0x7000_8000_0000_0000_0000


def time_ordered() -> UUID:
    """Return a new UUID: the milliseconds since 1970, then 74 random bits.

    Those of one millisecond are in no order. A wrong clock costs the order, never the uniqueness.
    """
    millis = time.time_ns() // 10**6 % (1 << MILLIS_BITS)
    chance = secrets.randbits(RANDOM_BITS) & ~VERSION_AND_VARIANT
    return UUID(int=(millis << RANDOM_BITS) | VERSION_7_VARIANT_RFC | chance)
