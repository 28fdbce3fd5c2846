"""What every simulated partner checks while it loads: a violation is a failed request.

* the answer is about the identifier that was asked for, with the status it must have;
* versions of one identifier never go backwards for one user, whichever way it asks;
* 304 says that what the user has still stands: it names the entity tag that was sent;
* one answer in `SAMPLE` is verified whole, offline, against the trust bundle.

Each method returns what is wrong, None where nothing is. What no load excuses begins with `WRONG`,
and fails a run whatever its budgets are; a status such as 503 is an error and counts as one.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.budgets import WRONG
from schemas import canonical
from schemas.answer import verify_answer, verify_record
from schemas.canonical import Json, JsonObject
from schemas.chain import Trust
from schemas.edges import verify_edges
from schemas.errors import TierlinkError

SAMPLE = 50
REMEMBERED = 10_000

OK, CREATED, NOT_MODIFIED, MISSING = 200, 201, 304, 404


@dataclass
class _Kept:
    version: int
    etag: str | None = None


class Checker:
    """One user's memory of what it has seen."""

    def __init__(self, trust: Trust | None, sample: int = SAMPLE) -> None:
        """Without trust no signature is checked; everything else is."""
        self._trust = trust
        self._sample = sample
        self._seen = 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self.verified = 0

    def etag(self, identifier: str) -> str | None:
        """Return the entity tag of the answer that this user has."""
        kept = self._kept.get(identifier)
        return None if kept is None else kept.etag

    def reply(  # noqa: PLR0911  (a way out for each thing that may be wrong)
        self,
        identifier: str,
        status: int,
        body: bytes,
        etag: str | None,
        *,
        exists: bool,
        sent: str | None = None,
    ) -> str | None:
        """Check a whole reply to a resolve; `sent` is the entity tag of its If-None-Match."""
        if status == NOT_MODIFIED and sent is not None:
            return None if etag == sent else f"{WRONG}304 names {etag}, sent was {sent}"
        if status == OK and not exists:
            return f"{WRONG}200 for an identifier that nobody registered"
        if status in {MISSING, 410} and exists:
            return f"{WRONG}{status} for an identifier that exists"
        if status == NOT_MODIFIED:
            return f"{WRONG}304 without a condition"
        if status == MISSING:
            return _about(json.loads(body), "value", identifier)
        if status != OK:
            return f"status {status}"
        return self.answer(identifier, body, etag)

    def answer(self, identifier: str, body: bytes, etag: str | None = None) -> str | None:
        """Check the body of a 200 answer, and remember its version and entity tag."""
        if self._turn() and (complaint := self._verify(canonical.decode_object(body))):
            return complaint
        document = json.loads(body)
        return _about(document, "identifier", identifier) or self.version(
            identifier, document["version"], etag
        )

    def version(self, identifier: str, version: int, etag: str | None = None) -> str | None:
        """Complain where a version went backwards."""
        kept = self._kept.setdefault(identifier, _Kept(version, etag))
        self._kept.move_to_end(identifier)
        if len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)
        if version < kept.version:
            return f"{WRONG}version went from {kept.version} back to {version}"
        kept.version, kept.etag = version, etag or kept.etag
        return None

    def lines(self, asked: Sequence[tuple[str, bool]], body: bytes) -> str | None:
        """Check the answer to a batch: a line for each identifier, in order, each of them right."""
        lines = body.splitlines()
        if len(lines) != len(asked):
            return f"{WRONG}{len(lines)} lines for {len(asked)} identifiers"
        complaints = (
            self._line(line, identifier, exists=exists)
            for line, (identifier, exists) in zip(lines, asked, strict=True)
        )
        return next((complaint for complaint in complaints if complaint), None)

    def _line(self, line: bytes, identifier: str, *, exists: bool) -> str | None:
        document = json.loads(line)
        status = document["status"]
        if complaint := _about(document, "identifier", identifier):
            return complaint
        if status != (OK if exists else MISSING):
            return _status(status, f"a line for {identifier}")
        if status != OK:
            return None
        if self._turn() and (complaint := self._verify(_answer_in(line))):
            return complaint
        answer = document["answer"]
        return _about(answer, "identifier", identifier) or self.version(
            identifier, answer["version"]
        )

    def trace(self, identifier: str, direction: str, body: bytes) -> str | None:
        """Check a trace: of the root asked for, edges between its nodes, statements that verify."""
        document = json.loads(body)
        if document["root"] != identifier or document["direction"] != direction:
            return f"{WRONG}a trace of {document['root']}, {document['direction']}"
        nodes = {node["identifier"] for node in document["nodes"]}
        for edge in document["edges"]:
            if not {edge["upstream"], edge["downstream"]} <= nodes:
                return f"{WRONG}an edge leads to no node of the trace"
        if self._trust is not None and self._turn():
            try:
                verify_edges(canonical.decode_object(body), self._trust)
            except TierlinkError as err:
                return f"{WRONG}does not verify: {err}"
            self.verified += 1
        return None

    def registered(self, identifier: str, body: bytes) -> str | None:
        """Check what a registration returns, and remember its version."""
        document = json.loads(body)
        if self._trust is not None and self._turn():
            try:
                verify_record(document["envelope"], self._trust, int(time.time()))
            except TierlinkError as err:
                return f"{WRONG}does not verify: {err}"
            self.verified += 1
        return _about(document, "identifier", identifier) or self.version(
            identifier, document["version"]
        )

    def _turn(self) -> bool:
        """Tell whether it is this answer's turn to be verified: the first, then one in `sample`."""
        self._seen += 1
        return self._seen % self._sample == 1 % self._sample

    def _verify(self, document: JsonObject) -> str | None:
        if self._trust is None:
            return None
        try:
            verify_answer(document, self._trust, int(time.time()))
        except TierlinkError as err:
            return f"{WRONG}does not verify: {err}"
        self.verified += 1
        return None


def _status(status: int, what: str) -> str:
    """Complain of a status: one that tells of load is an error, one that denies is wrong."""
    severe = "" if status >= 500 or status == 429 else WRONG  # noqa: PLR2004
    return f"{severe}status {status}, {what}"


def _about(document: JsonObject, member: str, identifier: str) -> str | None:
    found = document.get(member)
    return None if found == identifier else f"{WRONG}an answer about {found}"


def _answer_in(line: bytes) -> JsonObject:
    answer: Json = canonical.decode_object(line)["answer"]
    assert isinstance(answer, dict)
    return answer


def trust_from(path: Path) -> Trust | None:
    """Read a trust bundle, None where there is none to read."""
    return Trust.parse(path.read_bytes()) if path.exists() else None
