"""What every simulated partner checks while it loads: a violation is a failed request.

* the answer is about the identifier that was asked for, with the status it must have;
* versions of one identifier never go backwards for one user;
* one answer in `SAMPLE` is verified whole, offline, against the trust bundle.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from pathlib import Path

from schemas import canonical
from schemas.answer import verify_answer
from schemas.chain import Trust
from schemas.errors import TierlinkError

SAMPLE = 50
REMEMBERED = 10_000


class Checker:
    """One user's memory of what it has seen."""

    def __init__(self, trust: Trust | None, sample: int = SAMPLE) -> None:
        self._trust = trust
        self._sample = sample
        self._seen = 0
        self._versions: OrderedDict[str, int] = OrderedDict()

    def answer(self, identifier: str, body: bytes) -> str | None:
        """Return what is wrong with a 200 answer, None where nothing is."""
        self._seen += 1
        if self._trust is not None and self._seen % self._sample == 0:
            try:
                verify_answer(canonical.decode_object(body), self._trust, int(time.time()))
            except TierlinkError as err:
                return f"does not verify: {err}"
        document = json.loads(body)
        if document["identifier"] != identifier:
            return f"an answer about {document['identifier']}"
        return self.version(identifier, document["version"])

    def version(self, identifier: str, version: int) -> str | None:
        """Return a complaint where a version went backwards."""
        known = self._versions.get(identifier, 0)
        self._versions[identifier] = max(known, version)
        self._versions.move_to_end(identifier)
        if len(self._versions) > REMEMBERED:
            self._versions.popitem(last=False)
        return f"version went from {known} back to {version}" if version < known else None


def trust_from(path: Path) -> Trust | None:
    """Read a trust bundle, None where there is none to read."""
    return Trust.parse(path.read_bytes()) if path.exists() else None
