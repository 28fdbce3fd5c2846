"""Tags: what an answer depends on, and what a change touches. The two halves must fit.

    i + identifier   a record, or a link that ends there
    r + prefix       the suffix rules of a prefix: which serials are covered, by which class
    p + prefix       the delegation, suspension or allocation of a prefix

An answer that lacks a tag for something it was made from is served for ever after that changed,
so both lists stand here, side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from schemas.change import Change, Op
from schemas.identifier import Prefix
from schemas.source import State

from .reading import Reading


def of_reading(reading: Reading) -> tuple[bytes, ...]:
    """Return the tags of everything that a reading depends on, each once."""
    if not reading.names:
        object.__setattr__(reading, "names", _of_reading(reading))
    return reading.names


def _of_reading(reading: Reading) -> tuple[bytes, ...]:
    names = {_record(reading.identifier.text)}
    prefixes = {reading.identifier.prefix}
    if reading.state is not State.FOUND:
        # A rule that appears, changes or goes may change which class answers, or whether one does.
        names.add(_rules(reading.identifier.prefix))
    if reading.parts is not None:
        names.update(_record(record.identifier.text) for record in reading.parts.records)
        prefixes.update(item.asserter.prefix for item in reading.parts.assertions)
    names.update(*map(_delegations, prefixes))
    return tuple(names)


def of_identifiers(shown: Iterable[str]) -> tuple[bytes, ...]:
    """Return the tags of all that is known of identifiers, in their canonical text."""
    texts = set(shown)
    names = set(map(_record, texts))
    for prefix in map(Prefix.parse, {text.partition("/")[0] for text in texts}):
        names.add(_rules(prefix))
        names.update(_delegations(prefix))
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


@lru_cache(maxsize=4096)
def _delegations(prefix: Prefix) -> tuple[bytes, ...]:
    """Return the tags of the delegations of a prefix and of every prefix above it."""
    return tuple(b"p" + str(above).encode() for above in lineage(prefix))
