"""Who is shown what a record hides.

    public    whoever asks
    partner   whose prefix is at the far end of a link that the identifier's holder asserts
    a prefix  the organisation whose API key is for exactly that prefix
    anything  the holder of the record's own prefix

What is shown depends on the caller, what is signed does not: an answer with fewer disclosures
verifies like one with all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from schemas.disclosure import PARTNER, PUBLIC, Marked, reveal_all
from schemas.identifier import Identifier, Prefix
from schemas.keys import B64
from schemas.link import ASSERTED
from schemas.record import Record

from .reading import Reading


def versions(reading: Reading) -> list[tuple[Identifier, int]]:
    """Return the records of a reading that hide something, as (identifier, version)."""
    if reading.parts is None:
        return []
    return [(item.identifier, item.version) for item in reading.parts.records if _digests(item)]


def informed(reading: Reading, marked: Mapping[B64, Marked]) -> Reading:
    """Return the reading with what its records hide, by digest, and the public part shown."""
    assert reading.parts is not None
    known = [
        marked[digest]
        for record in reading.parts.records
        for digest in _digests(record)
        if digest in marked
    ]
    return shown(replace(reading, marked=tuple(known)), None)


def shown(reading: Reading, caller: Prefix | None) -> Reading:
    """Return the reading as a caller may see it; None is whoever gives no name.

    Raise VerifyError where the source's disclosures are not what the holder signed.
    """
    if reading.parts is None or not reading.marked:
        return reading
    words = _words(reading, caller)
    holds = caller is not None and caller == reading.identifier.prefix
    chosen = [
        item.disclosure.text
        for item in reading.marked
        if (holds or item.shown_to(words)) and item.disclosure.text not in reading.disclosures
    ]
    if not chosen:
        return reading
    parts = replace(reading.parts, records=reveal_all(reading.parts.records, chosen))
    return replace(reading, parts=parts, disclosures=(*reading.disclosures, *chosen))


def _words(reading: Reading, caller: Prefix | None) -> frozenset[str]:
    if caller is None:
        return frozenset({PUBLIC})
    partner = {PARTNER} if caller in _partners(reading) else set()
    return frozenset({PUBLIC, str(caller), *partner})


def _partners(reading: Reading) -> Iterable[Prefix]:
    assert reading.parts is not None
    # Only where this end asserts it: a link that the other proposes makes nobody a partner.
    return {
        item.far.prefix
        for item in reading.parts.assertions
        if item.asserter == reading.identifier and item.state == ASSERTED
    }


def _digests(record: Record) -> tuple[B64, ...]:
    return (*record.hidden_attributes, *record.hidden_targets)
