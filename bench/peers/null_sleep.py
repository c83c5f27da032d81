"""The least that a ticker can be late: sleep to a time and look at the clock."""

import os
import time
from pathlib import Path

OFFSET_S = 0.5


def main() -> None:
    """Note second by second how late it was, in the file `BENCH_SLEPT`, until killed."""
    at = int(time.time()) + 1 + OFFSET_S
    with Path(os.environ["BENCH_SLEPT"]).open("w") as record:
        while True:
            time.sleep(max(0.0, at - time.time()))
            record.write(f"{time.time() - at!r}\n")
            record.flush()
            at += 1


if __name__ == "__main__":
    main()
