"""Numbers in addresses: as large as a bigint, and no longer than it is written."""

import re

from starlette.convertors import Convertor, register_url_convertor

NUMBER = re.compile("-?[0-9]{1,19}")
LEAST, MOST = -(2**63), 2**63 - 1


def bigint(text: str) -> int | None:
    """Return the number that a text is, None if it is none of a bigint's."""
    number = int(text) if NUMBER.fullmatch(text) else None
    return number if number is not None and LEAST <= number <= MOST else None


class _Id(Convertor[int]):
    """What counts up from 1: of anything longer there is no page."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("id", _Id())
