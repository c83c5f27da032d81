"""How the demo ends when it does not end well."""

from collections.abc import Sequence

EXIT_FINDING, EXIT_SETTINGS, EXIT_UNREACHABLE, EXIT_INTERRUPTED = 1, 2, 3, 130


class DemoFailed(Exception):
    """Said to the person in a sentence; `details` are other programs' lines, shown above it."""

    def __init__(
        self, reason: str, *, exit_code: int = EXIT_FINDING, details: Sequence[str] = ()
    ) -> None:
        """`exit_code` is that of the program."""
        super().__init__(reason)
        self.reason = reason
        self.exit_code = exit_code
        self.details = details
