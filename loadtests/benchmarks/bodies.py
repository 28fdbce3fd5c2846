"""The answers that the contestants serve: the same bytes for all, about as large as real ones."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from bisect import bisect
from pathlib import Path

SKEW = 0.99
HEADERS = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"public, max-age=0, must-revalidate"),
    (b"vary", b"accept"),
    (b"access-control-allow-origin", b"*"),
    (b"x-content-type-options", b"nosniff"),
)


def target(number: int) -> str:
    """Return the request target of an identifier."""
    return f"/88.118.{number % 100 + 1}/BAT.2026.{number:06d}"


def body(number: int) -> bytes:
    """Return an answer of about 600 bytes, different for each identifier."""
    signature = hashlib.sha512(b"%d" % number).hexdigest()
    document = {
        "identifier": target(number)[1:],
        "version": 1,
        "kind": "item",
        "status": "active",
        "targets": [{"rel": "dpp", "href": f"https://dpp.example/{number}", "title": "passport"}],
        "attributes": {"capacity": "75 kWh", "chemistry": "LFP", "plant": "Ningde 2"},
        "envelope": signature * 2,
    }
    return json.dumps(document).encode()


def etag(number: int) -> bytes:
    """Return the entity tag of an answer."""
    return b'"1.%s"' % hashlib.sha256(body(number)).hexdigest()[:16].encode()


def write_draws(path: Path, identifiers: int, count: int, *, zipf: bool) -> None:
    """Write `count` draws for the load generator, by a power law or evenly."""
    draw = random.Random(1)
    order = list(range(identifiers))
    draw.shuffle(order)
    if zipf:
        steps = list(itertools.accumulate(1 / rank**SKEW for rank in range(1, identifiers + 1)))
        chosen = [order[bisect(steps, draw.random() * steps[-1])] for _ in range(count)]
    else:
        chosen = [draw.choice(order) for _ in range(count)]
    lines = {number: f"{target(number)}\t{etag(number).decode()}\n" for number in set(chosen)}
    path.write_text("".join(lines[number] for number in chosen))
