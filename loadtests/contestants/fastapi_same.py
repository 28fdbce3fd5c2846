"""A plain FastAPI route that returns the bytes of one file: `fastapi_same.py PORT FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response

BODY = Path(sys.argv[2]).read_bytes()

app = FastAPI(openapi_url=None)


@app.get("/{prefix}/{suffix}")
async def resolve(prefix: str, suffix: str) -> Response:
    """Return the bytes; nothing is looked up, verified or rendered."""
    del prefix, suffix
    return Response(BODY, media_type="application/json")


uvicorn.run(
    app,
    port=int(sys.argv[1]),
    loop="uvloop",
    http="httptools",
    lifespan="off",
    access_log=False,
    log_level="warning",
)
