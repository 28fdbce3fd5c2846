"""The seam: what a resolver needs from an authority, in process or over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.change import Batch, Watermark
from schemas.disclosure import Marked
from schemas.identifier import Identifier, Prefix
from schemas.source import Edges, Fetched, Proved
from schemas.viewer import ANYBODY, Near, Viewer
from schemas.when import NOW, When


class Source(Protocol):
    """An authority to read from.

    Every reply carries the watermark of the snapshot that it was read in, never a later one.
    Calls may run concurrently; each raises Unavailable when the authority is away.
    """

    async def fetch(
        self, identifiers: Sequence[Identifier], *, whole: bool = True, viewer: Viewer = ANYBODY
    ) -> Fetched:
        """Return what is known of each identifier (missing ones too).

        `whole` adds ancestors, what the ends of links say and the delegations to verify it; without
        it only the record itself (or the class that covers it) and its own chain is read. Of the
        links those are there that `viewer` is shown. A source that asks other nodes
        (`resolver.federated`) says of what is theirs where it came from (`Found.elsewhere`), or
        that it did not come (State.UNREACHABLE).
        """
        ...

    async def edges(
        self,
        level: Sequence[Near],
        direction: str,
        limit: int,
        viewer: Viewer = ANYBODY,
        *,
        when: When = NOW,
    ) -> Edges:
        """Return the links of a level of a walk that a viewer is shown, in one query.

        `direction` is "upstream" or "downstream": where the far ends lie. At most `limit` edges
        in the order (near, far, type, lifecycle, occurrence); `truncated` where there are more.
        Of `when` the recorded time tells which versions of statements are meant; valid time is
        for whoever verifies them.
        """
        ...

    async def disclosures(self, versions: Sequence[tuple[Identifier, int]]) -> tuple[Marked, ...]:
        """Return what these versions of records hide, and who may see it."""
        ...

    async def caller(self, authorization: str) -> Prefix:
        """Return the prefix that an Authorization header speaks for; raise Unauthenticated."""
        ...

    async def prove(self, identifier: Identifier, at: int | None = None) -> Proved:
        """Return what the newest published epoch of the log proves, or the one of a time.

        `at` is in Unix seconds. Raises NoLog where no log is kept, PrefixNotFound, NotFound where
        the log is younger than `at`, and ProofPending where no epoch covers what stands yet.
        """
        ...

    async def changes(self, after: Watermark | None) -> Batch:
        """Return at once what changed since `after`, and the new watermark, also when nothing did.

        With None: no changes, and the watermark of now. With a watermark of another epoch: no
        changes, and the watermark of now in the present epoch; everything older is void.
        """
        ...
