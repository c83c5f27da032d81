"""The least that a gateway could do: an empty FastAPI endpoint that only parses the same body.

By uvicorn with the gateway's own settings (`services.gateway.serving`): uvloop, httptools, no log.
"""

import asyncio
import os
import socket

import uvicorn
import uvloop
from fastapi import FastAPI
from pydantic import BaseModel

from bench.peers.broker import CONSUMING

app = FastAPI()


class Transaction(BaseModel):
    """What the gateway is sent."""

    id: int
    value: int


@app.post("/v1/transactions", status_code=202)
async def accept(transaction: Transaction) -> dict[str, int]:
    """Take it, and forget it."""
    return {"items": 1 if transaction.value else 0}


def main() -> None:
    """Serve on `BENCH_PORT` until killed."""
    config = uvicorn.Config(
        app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, timeout_keep_alive=75,
    )  # fmt: skip
    with (
        socket.create_server(("127.0.0.1", int(os.environ["BENCH_PORT"])), backlog=1024) as opened,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        print(CONSUMING, flush=True)
        runner.run(uvicorn.Server(config).serve(sockets=[opened]))


if __name__ == "__main__":
    main()
