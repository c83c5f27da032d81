"""How often a password may be tried: by one, by all strangers, and by who is known."""

from ops.console.attempts import ALL_MAX, EACH_MAX, PERIOD_S, Attempts


def test_attempts_are_counted_by_address_and_altogether_and_forgotten_in_time() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])

    assert [attempts.begin("a") for _ in range(EACH_MAX)] == [0.0] * EACH_MAX
    assert attempts.begin("a") == PERIOD_S
    assert attempts.begin("b") == 0.0
    others = [attempts.begin(f"c{number}") for number in range(ALL_MAX)]
    assert others == [0.0] * (ALL_MAX - EACH_MAX - 1) + [PERIOD_S] * (EACH_MAX + 1)
    now[0] = PERIOD_S
    assert attempts.begin("a") == 0.0


def test_a_known_browser_has_attempts_of_its_own_and_takes_none_from_others() -> None:
    attempts = Attempts(lambda: 0.0)
    for number in range(ALL_MAX):
        attempts.begin(f"address {number}")
    assert attempts.begin("another address") == PERIOD_S

    assert [attempts.begin("a browser", stranger=False) for _ in range(EACH_MAX)] == [0] * EACH_MAX
    assert attempts.begin("a browser", stranger=False) == PERIOD_S


def test_who_knew_the_password_begins_anew() -> None:
    attempts = Attempts(lambda: 0.0)
    for _ in range(EACH_MAX):
        attempts.begin("a")
    attempts.succeeded("a")

    assert attempts.begin("a") == 0.0
