"""The least that a tick can cost: sleep to the boundary, one commit, one SET.

Its boundaries lie half an interval of one second beside the tick's, so that the two share the same
load and the same noise but do not wait for each other.
"""

import os
import time

import psycopg
import redis

OFFSET_S = 0.5
KEY = "bench:null"
CREATE = "CREATE TABLE IF NOT EXISTS bench_null (boundary float8)"
INSERT = "INSERT INTO bench_null VALUES (%s)"


def main() -> None:
    """Commit and set, second by second, until killed."""
    with (
        psycopg.connect(os.environ["POSTGRES_DSN"], autocommit=True, prepare_threshold=0) as conn,
        redis.Redis.from_url(os.environ["KEYDB_URL"], protocol=2) as client,
    ):
        conn.execute(CREATE)
        boundary = int(time.time()) + 1
        while True:
            time.sleep(max(0.0, boundary + OFFSET_S - time.time()))
            conn.execute(INSERT, [boundary])
            client.mset({KEY: boundary})  # SET is not among what the test server permits
            boundary += 1


if __name__ == "__main__":
    main()
