"""The seam: what a resolver needs from an authority, in process or over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.change import Batch, Watermark
from schemas.identifier import Identifier
from schemas.source import Edges, Fetched


class Source(Protocol):
    """An authority to read from.

    Every reply carries the watermark of the snapshot that it was read in, never a later one.
    Calls may run concurrently; each raises Unavailable when the authority is away.
    """

    async def fetch(self, identifiers: Sequence[Identifier], *, whole: bool = True) -> Fetched:
        """Return what is known of each identifier (missing ones too).

        `whole` adds ancestors, standing assertions and the delegations to verify them; without
        it only the record itself (or the class that covers it) and its own chain is read.
        """
        ...

    async def edges(self, identifiers: Sequence[Identifier], direction: str, limit: int) -> Edges:
        """Return the links of a level of a walk, in one query.

        `direction` is "upstream" or "downstream": where the far ends lie. At most `limit` edges
        in the order (near, far, type, lifecycle, occurrence); `truncated` where there are more.
        """
        ...

    async def changes(self, after: Watermark | None) -> Batch:
        """Return at once what changed since `after`, and the new watermark, also when nothing did.

        With None: no changes, and the watermark of now. With a watermark of another epoch: no
        changes, and the watermark of now in the present epoch; everything older is void.
        """
        ...
