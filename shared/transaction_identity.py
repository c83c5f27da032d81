"""What an identity of a transaction may be: what AMQP and Postgres both take."""

from shared.unfit import Unfit

IDENTITY_BYTES_MAX = 255


def check_identity(identity: str) -> None:
    """Raise `Unfit` (`bad_identity`) unless it is UTF-8 of a length that AMQP and Postgres take."""
    try:
        size = len(identity.encode())
    except UnicodeEncodeError as error:
        raise Unfit("bad_identity", "the identity is not UTF-8") from error
    if "\x00" in identity:
        raise Unfit("bad_identity", "the identity holds a NUL character")
    if size > IDENTITY_BYTES_MAX:
        raise Unfit("bad_identity", f"the identity has {size} bytes, above {IDENTITY_BYTES_MAX}")
