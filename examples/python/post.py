"""Post transactions by HTTP: python post.py FILE [KEY]; .json, .ndjson or .csv. Needs httpx."""

import json
import os
import random
import sys
import time
import uuid
from pathlib import Path

import httpx

URL = os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080")
TOKEN = os.environ.get("GATEWAY_TOKEN", "password")
KINDS = {".json": "application/json", ".ndjson": "application/x-ndjson", ".csv": "text/csv"}
PAUSE_MAX_S = 60.0


def post(client: httpx.Client, body: bytes, kind: str, key: str) -> httpx.Response:
    """Post until there is an answer that does not ask to try again. The key makes that harmless."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind, "Idempotency-Key": key}
    pause_s = 0.5
    while True:
        wait_s = pause_s
        try:
            answer = client.post("/v1/transactions", content=body, headers=headers)
            if answer.status_code not in {408, 429, 500, 502, 503, 504}:
                return answer
            print(f"{answer.status_code}: trying again", file=sys.stderr)
            wait_s = max(wait_s, float(answer.headers.get("Retry-After", 0)))
        except httpx.TransportError as error:  # it may have come all the same
            print(f"{type(error).__name__}: trying again", file=sys.stderr)
        time.sleep(random.uniform(0.5, 1) * wait_s)  # noqa: S311 - jitter, no secret
        pause_s = min(2 * pause_s, PAUSE_MAX_S)


def main() -> None:
    """Post one file; print what became of it so far."""
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python post.py FILE [KEY]")
    path = Path(sys.argv[1])
    # Keep the key with what you send: after a crash, send the same again under the same key.
    key = sys.argv[2] if len(sys.argv) > 2 else str(uuid.uuid4())  # noqa: PLR2004
    with httpx.Client(base_url=URL, timeout=30) as client:
        answer = post(client, path.read_bytes(), KINDS[path.suffix], key)
    if answer.status_code != httpx.codes.ACCEPTED:
        sys.exit(f"not accepted: {json.dumps(answer.json(), indent=2)}")
    print(f"accepted {answer.json()['items']} items: {URL}{answer.headers['Location']}")


if __name__ == "__main__":
    main()
