"""A minimal FastAPI route that returns prebuilt bytes: `fastapi_plain.py PORT IDENTIFIERS`."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import bodies

PORT, COUNT = int(sys.argv[1]), int(sys.argv[2])
ANSWERS = {bodies.target(number): bodies.body(number) for number in range(COUNT)}
HEADERS = {name.decode(): value.decode() for name, value in bodies.HEADERS[1:]}

app = FastAPI(openapi_url=None)


@app.get("/{prefix}/{suffix}")
async def resolve(prefix: str, suffix: str) -> Response:
    """Return the bytes; nothing is looked up, verified or rendered."""
    return Response(ANSWERS[f"/{prefix}/{suffix}"], headers=HEADERS, media_type="application/json")


uvicorn.run(
    app,
    port=PORT,
    loop="uvloop",
    http="httptools",
    lifespan="off",
    access_log=False,
    log_level="warning",
)
