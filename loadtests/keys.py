"""Which identifiers to ask for: those that exist, drawn by a power law, with a few that do not.

Traffic on identifiers is skewed: a handful of classes and batches is asked for all day. The draw is
Zipf's with exponent `skew` over a fixed shuffle, so that the hot ones differ from their byte order.
"""

from __future__ import annotations

import bisect
import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx

SKEW = 0.99
PAGE = 1000
PATH_SAFE = "/!$&'()*+,;=:@"  # what may stand in a path as it is (RFC 3986 pchar), and the slash


@dataclass
class Draw:
    """Draws from `identifiers`; `misses` is the share of draws that exist nowhere."""

    identifiers: Sequence[str]
    misses: float = 0.02
    skew: float = SKEW
    seed: int = 1
    _steps: list[float] = field(init=False, repr=False)
    _order: list[str] = field(init=False, repr=False)
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._order = list(self.identifiers)
        random.Random(0).shuffle(self._order)  # the same hot set for every user
        weights = (1 / rank**self.skew for rank in range(1, len(self._order) + 1))
        self._steps = list(itertools.accumulate(weights))

    def one(self) -> tuple[str, bool]:
        """Return an identifier and whether it exists."""
        at = bisect.bisect(self._steps, self._random.random() * self._steps[-1])
        found = self._order[min(at, len(self._order) - 1)]
        if self._random.random() < self.misses:
            return f"{found}~{self._random.getrandbits(32):08x}", False
        return found, True

    def many(self, count: int) -> list[str]:
        """Return `count` identifiers, repeats and misses among them."""
        return [self.one()[0] for _ in range(count)]


def path_of(identifier: str) -> str:
    """Return the URL path of an identifier."""
    prefix, _, suffix = identifier.partition("/")
    return f"/{prefix}/{quote(suffix, safe=PATH_SAFE)}"


def from_file(path: Path) -> list[str]:
    """Read identifiers, one a line."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line]


def from_sample(host: str, sample: Path, limit: int = 100_000) -> list[str]:
    """List what the enterprises of a loaded sample hold, by their own API keys."""
    found: list[str] = []
    with httpx.Client(base_url=host, timeout=10) as client:
        for enterprise in json.loads(sample.read_text(encoding="utf-8"))["enterprises"]:
            headers = {"authorization": f"Bearer {enterprise['api_key']}"}
            cursor: str | None = ""
            while cursor is not None and len(found) < limit:
                query = {"prefix": enterprise["prefix"], "limit": str(PAGE)}
                if cursor:
                    query["cursor"] = cursor
                page = client.get("/v1/identifiers", params=query, headers=headers)
                page.raise_for_status()
                body = page.json()
                found += [item["identifier"] for item in body["identifiers"]]
                cursor = body["next"]
    return found[:limit]
