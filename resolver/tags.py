"""Tags: what an answer depends on, and what a change touches. The two halves must fit.

    i + identifier   a record, or a link that ends there
    r + prefix       the suffix rules of a prefix: which serials are covered, by which class
    p + prefix       the delegation, suspension or allocation of a prefix

An answer that lacks a tag for something it was made from is served for ever after that changed,
so both lists stand here, side by side.
"""

from __future__ import annotations

from schemas.change import Change, Op
from schemas.identifier import Prefix
from schemas.source import State

from .reading import Reading


def of_reading(reading: Reading) -> tuple[bytes, ...]:
    """Return the tags of everything that a reading depends on, each once."""
    names = {_record(reading.identifier.text)}
    prefixes = {reading.identifier.prefix}
    if reading.state is not State.FOUND:
        # A rule that appears, changes or goes may change which class answers, or whether one does.
        names.add(_rules(reading.identifier.prefix))
    if reading.parts is not None:
        names.update(_record(record.identifier.text) for record in reading.parts.records)
        prefixes.update(item.asserter.prefix for item in reading.parts.assertions)
    names.update(_delegation(above) for prefix in prefixes for above in lineage(prefix))
    return tuple(names)


def lineage(prefix: Prefix) -> tuple[Prefix, ...]:
    """Return a prefix and every prefix above it."""
    return (prefix, *prefix.ancestors())


def of_change(change: Change) -> tuple[bytes, ...]:
    """Return the tags that a change touches."""
    if change.op is Op.PREFIX:
        return (b"p" + change.about.encode(),)
    if change.op is Op.RULE:
        prefix = change.about.partition("/")[0]
        return (_record(change.about), b"r" + prefix.encode())
    if change.op is Op.LINK:
        return tuple(_record(end) for end in (change.about, change.also) if end)
    return (_record(change.about),)


def _record(identifier: str) -> bytes:
    return b"i" + identifier.encode()


def _rules(prefix: Prefix) -> bytes:
    return b"r" + str(prefix).encode()


def _delegation(prefix: Prefix) -> bytes:
    return b"p" + str(prefix).encode()
