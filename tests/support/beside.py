"""Work in a thread beside a block."""

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def beside(work: Callable[[], object], stop: Callable[[], object]) -> Iterator[None]:
    """Run `work` in a thread while inside; on the way out `stop` has it end, and it has ended."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()
