"""Whether Postgres's clock can be believed by who removes what is old.

A clock that has stepped forward, be it Postgres's alone or the ticker's as well, makes all look
old: then no boundary lies where those of the last day should. The longest interval is a day.
"""

from typing import LiteralString

IS_STEADY: LiteralString = """EXISTS (
       SELECT
         FROM tick
        WHERE boundary BETWEEN now() - interval '25 hours' AND now() - interval '1 hour')
"""
