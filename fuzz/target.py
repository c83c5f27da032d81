"""`python -m fuzz.target NAME [libFuzzer's arguments]`: fuzz one target; a file repeats a crash."""

import sys

import atheris

# What is fuzzed, and the JSON reader it stands on; not what it is compared with.
INSTRUMENTED = [
    "json.decoder", "shared.transaction_body", "shared.json_object", "shared.amqp.amqp_json",
    "shared.amqp.properties", "shared.amqp.delivery_parser",
]  # fmt: skip

with atheris.instrument_imports(include=INSTRUMENTED):
    from fuzz.targets import TARGETS


def main() -> None:
    """Hand the process over to libFuzzer, which ends it."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
