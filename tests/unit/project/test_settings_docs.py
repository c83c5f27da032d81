"""docs/settings.md and .env.example are what `make settings` writes."""

from tools import settings

WRITE = "not what the settings classes say: run `make settings`"


def test_the_tables_of_settings_are_those_of_the_classes() -> None:
    assert settings.TABLES.read_text(encoding="utf-8") == settings.tables(), WRITE


def test_the_example_says_what_the_classes_and_compose_say() -> None:
    shown = settings.EXAMPLE.read_text(encoding="utf-8")
    compose = (settings.ROOT / "compose.yaml").read_text(encoding="utf-8")

    assert shown == settings.example(shown, compose), WRITE
