"""Export: all that the holder of a prefix has signed, in an order in which it can be loaded again.

    1. records, every version, a parent before its children: first whatever may be a parent, held
       in memory and sorted (classes and batches are few), then items as the listing gives them
    2. what this prefix asserts of links and still stands
    3. tombstones, for a retired parent takes no children and a retired end no links

Everything is verified on its way. What waits for its turn lies in a temporary file. Elsewhere it
loads where the same prefix is delegated to the same keys. Withdrawn assertions, and the earlier
words of one that was changed, are not in it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from schemas.identifier import Identifier, Prefix
from schemas.link import ASSERTED
from schemas.record import ITEM, RETIRED

from .blocking import Client
from .reading import RESOLVE_CHUNK, Listed
from .verdict import read_link

_IN_MEMORY = 4 * 1024 * 1024


def export(
    client: Client, prefix: Prefix, progress: Callable[[int], object] = lambda _: None
) -> Iterator[str]:
    """Yield envelopes; `progress` is told how many identifiers are done."""
    with _spool() as links, _spool() as tombstones:
        done = 0
        for chunk in _chunks(_in_order(client, prefix)):
            # 1
            yield from _records(client, chunk, _Later(links, tombstones))
            done += len(chunk)
            progress(done)
        # 2
        yield from _lines(links)
        # 3
        yield from _lines(tombstones)


@dataclass(frozen=True, slots=True)
class _Later:
    """Where lines wait that are not due yet."""

    links: IO[str]
    tombstones: IO[str]


@contextmanager
def _spool() -> Iterator[IO[str]]:
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="ascii") as file:
        yield file


def _lines(file: IO[str]) -> Iterator[str]:
    file.seek(0)
    for line in file:
        yield line.rstrip("\n")


def _in_order(client: Client, prefix: Prefix) -> Iterator[Listed]:
    """List a prefix twice: what may be a parent, parents first; then the items."""
    yield from parents_first(item for item in client.listing(prefix) if item.kind != ITEM)
    yield from (item for item in client.listing(prefix) if item.kind == ITEM)


def parents_first(listed: Iterable[Listed]) -> list[Listed]:
    """Sort so that no parent stands after its child."""
    known = {item.identifier: item for item in listed}
    depths: dict[str, int] = {}

    def depth(item: Listed) -> int:
        if item.identifier not in depths:
            parent = known.get(item.parent or "")
            depths[item.identifier] = 0  # a circle, which no registry accepts, ends here
            depths[item.identifier] = 0 if parent is None else depth(parent) + 1
        return depths[item.identifier]

    return sorted(known.values(), key=depth)


def _chunks(listed: Iterable[Listed]) -> Iterator[list[Listed]]:
    chunk: list[Listed] = []
    for item in listed:
        chunk.append(item)
        if len(chunk) == RESOLVE_CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _records(client: Client, chunk: list[Listed], later: _Later) -> Iterator[str]:
    standing = [item.identifier for item in chunk if item.status != RETIRED]
    answers = iter(client.resolve_many(standing))
    for item in chunk:
        if item.status == RETIRED:
            tokens = _history(client, item.identifier)
            yield from tokens[:-1]
            later.tombstones.write(f"{tokens[-1]}\n")
            own = _own_links(client, item.identifier)
        else:
            found = next(answers)
            if found.answer is None:
                assert found.error is not None  # one of both
                raise found.error
            first = item.version == 1
            yield from [found.answer.envelope] if first else _history(client, item.identifier)
            more = found.answer.links.truncated
            stated = json.loads(found.answer.raw).get("proof", {}).get("links", [])
            own = _own_links(client, item.identifier) if more else _said_by(item.identifier, stated)
        later.links.writelines(f"{token}\n" for token in own)


def _history(client: Client, identifier: str) -> list[str]:
    return [version.envelope for version in client.versions(identifier)][::-1]


def _own_links(client: Client, identifier: str) -> list[str]:
    tokens = (token for link in client.links(identifier) for token in link.envelopes)
    return _said_by(identifier, tokens)


def _said_by(identifier: str, tokens: Iterable[str]) -> list[str]:
    """Keep what this very end asserts: a link inside one prefix is met at both its ends."""
    near = Identifier.parse(identifier)
    said = ((token, read_link(token)[1]) for token in tokens)
    return [t for t, stated in said if stated.asserter == near and stated.state == ASSERTED]
