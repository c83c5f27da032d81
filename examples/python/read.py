"""Read a balance and of which minute it is: python read.py 1_Visa. Needs redis."""

import os
import sys

import redis

SHARDS = int(os.environ.get("SHARDS", "1"))
URL = os.environ.get("KEYDB_URL", "redis://127.0.0.1:6379/0")


def main() -> None:
    """Take both in one MULTI: never a balance of one tick with the time of another."""
    if not sys.argv[1:]:
        sys.exit("usage: python read.py KEY, for example 1_Visa")
    key = sys.argv[1]
    mark = "minutebook:watermark"
    if SHARDS > 1:  # each shard has its own, and a key begins with its provider's id
        mark += f":{int(key.partition('_')[0]) % SHARDS}"
    with redis.Redis.from_url(URL, decode_responses=True) as store:
        pipeline = store.pipeline(transaction=True)
        pipeline.get(key)
        pipeline.hmget(mark, "boundary", "applied_at", "epoch", "token")
        balance, (boundary, _, epoch, token) = pipeline.execute()
    if boundary is None or balance is None:
        sys.exit(f"{key}: nothing is shown yet")
    if token.startswith("partial:"):
        sys.exit("more than 100,000 balances are being changed: read again in a moment")
    # Minor units, as a decimal string: an int holds all of it, a float does not.
    print(f"{key} {int(balance)} as of {boundary} (tick {epoch})")


if __name__ == "__main__":
    main()
