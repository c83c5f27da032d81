"""What `ops doctor` advises of settings that matter as history grows."""

from dataclasses import replace
from typing import Any

import pytest

from ops.doctor.growth_checks import VACUUM_WANTED, Growth, assess

ROOMY = Growth(512 * 2**20, 4 * 2**30, autovacuum=True, parameters=VACUUM_WANTED)
VACUUM = "vacuum of historical_transactions"


def advised(growth: Growth) -> dict[str, str]:
    found = [one for one in assess(growth) if one.verdict != "ok"]
    assert all(one.verdict == "warn" for one in found)
    return {one.name: one.advice for one in found}


def test_a_server_that_is_set_for_growth_gets_no_advice() -> None:
    assert advised(ROOMY) == {}


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"buffers_bytes": 128 * 2**20}, "shared_buffers"),
        ({"wal_bytes_max": 2**30}, "max_wal_size"),
        ({"autovacuum": False}, "autovacuum"),
        ({"parameters": {}}, VACUUM),
        ({"parameters": VACUUM_WANTED | {"autovacuum_enabled": "false"}}, VACUUM),
    ],
)
def test_what_makes_a_large_history_slow_is_advised_against(
    changed: dict[str, Any], name: str
) -> None:
    assert set(advised(replace(ROOMY, **changed))) == {name}


def test_the_advice_about_vacuum_names_what_is_missing_and_leaves_what_somebody_chose() -> None:
    chosen = {"autovacuum_vacuum_insert_threshold": "50000", "autovacuum_freeze_min_age": "1000"}

    advice = advised(replace(ROOMY, parameters=chosen))[VACUUM]

    assert advice.startswith(
        "ALTER TABLE historical_transactions SET (autovacuum_vacuum_insert_scale_factor = 0,"
        " autovacuum_vacuum_cost_limit = 100)"
    )
