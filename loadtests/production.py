"""A production line: new records under the enterprises of the sample, signed as each of them does.

Those with a key of their own sign before they send; for the others the registry signs. Records
stay in the registry after the run, so there is a limit to how many one process makes.
"""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.identifier import Identifier
from schemas.keys import PrivateKey
from schemas.record import ITEM, Record
from tierlink import keyfile


@dataclass(frozen=True)
class Order:
    """One registration, ready to be sent."""

    identifier: str
    body: bytes
    api_key: str


class Production:
    """Makes registrations, the enterprises in turn, at most `limit`."""

    def __init__(self, enterprises: Sequence[Mapping[str, str]], limit: int) -> None:
        self._turn = itertools.cycle(enterprises)
        self._keys: dict[str, PrivateKey] = {}
        self.left = limit if enterprises else 0

    def next(self) -> Order | None:
        """Return one more, None after the last."""
        if self.left <= 0:
            return None
        self.left -= 1
        enterprise = next(self._turn)
        name = f"{enterprise['prefix']}/LOAD-{secrets.token_hex(8)}"
        facts = {"purpose": "load test"}
        if enterprise.get("key_file"):
            record = Record(Identifier.parse(name), ITEM, int(time.time()), attributes=facts)
            body: dict[str, object] = {"envelope": record.sign(self._key(enterprise["key_file"]))}
        else:
            body = {"identifier": name, "kind": ITEM, "attributes": facts}
        return Order(name, json.dumps(body).encode(), enterprise["api_key"])

    def _key(self, path: str) -> PrivateKey:
        if path not in self._keys:
            self._keys[path] = keyfile.load(Path(path))
        return self._keys[path]
