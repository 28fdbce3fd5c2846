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
from pathlib import Path
from urllib.parse import quote

SKEW = 0.99
PAGE = 1000
MOST = 100_000  # identifiers that are listed
PATH_SAFE = "/!$&'()*+,;=:@"  # what may stand in a path as it is (RFC 3986 pchar), and the slash


class Zipf:
    """Identifiers by rank, and how often each is asked for; made once, shared by all who draw."""

    def __init__(self, identifiers: Sequence[str], skew: float = SKEW) -> None:
        """With a skew of 0 every identifier is as likely as any other."""
        if not identifiers:
            raise ValueError("there is no identifier to ask for")
        self.ranked = list(identifiers)
        random.Random(0).shuffle(self.ranked)  # the same hot set in every process
        weights = (1 / rank**skew for rank in range(1, len(self.ranked) + 1))
        self.steps = list(itertools.accumulate(weights))

    def draw(self, chance: random.Random) -> str:
        """Draw one identifier."""
        at = bisect.bisect(self.steps, chance.random() * self.steps[-1])
        return self.ranked[min(at, len(self.ranked) - 1)]


class Draw:
    """What one user asks for; `misses` is the share of draws that exist nowhere."""

    def __init__(self, zipf: Zipf, misses: float = 0.02, seed: int = 1) -> None:
        self.chance = random.Random(seed)
        self._zipf = zipf
        self._misses = misses

    def one(self) -> tuple[str, bool]:
        """Return an identifier and whether it exists."""
        found = self._zipf.draw(self.chance)
        if self.chance.random() < self._misses:
            return f"{found}~{self.chance.getrandbits(32):08x}", False
        return found, True

    def many(self, count: int) -> list[tuple[str, bool]]:
        """Return `count` draws, repeats and misses among them."""
        return [self.one() for _ in range(count)]


def path_of(identifier: str) -> str:
    """Return the URL path of an identifier."""
    prefix, _, suffix = identifier.partition("/")
    return f"/{prefix}/{quote(suffix, safe=PATH_SAFE)}"


def from_file(path: Path) -> list[str]:
    """Read identifiers, one a line."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line]


def from_sample(host: str, sample: Path, limit: int = MOST) -> list[str]:
    """List what the enterprises of a loaded sample hold, by their own API keys."""
    import httpx  # noqa: PLC0415  (only here, and slow to import)

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
                found += [
                    item["identifier"]
                    for item in body["identifiers"]
                    if item["status"] != "retired"  # those answer 410
                ]
                cursor = body["next"]
    return found[:limit]


def existing(host: str, given: Path | None, sample: Path) -> list[str]:
    """Return what there is to ask for: of a file, else of the sample; raise FileNotFoundError."""
    if given is not None:
        return from_file(given)[:MOST]
    if not sample.exists():
        raise FileNotFoundError(
            f"{sample} is missing, so nobody knows what there is to ask for: start `make up` in "
            "this folder, name its TIERLINK_DATA_DIR, or give --identifiers FILE"
        )
    return from_sample(host, sample)
